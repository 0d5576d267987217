//! Pushing.

use std::{io::Cursor, sync::Mutex};

use super::{
    docker_registry::{DockerRegistry, Setup},
    scripted::{Ending, Reply, Scripted},
    *,
};
use crate::error::{Classify as _, Kind, chain};

const MIB: usize = 1 << 20;
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Pushes a blob.
pub(super) async fn push(
    client: &Client,
    image: &Reference,
    content: &[u8],
    auth: Option<&Auth>,
) -> Result<Pushed, Error> {
    push_from(client, image, content, None, auth).await
}

async fn push_from(
    client: &Client,
    image: &Reference,
    content: &[u8],
    mount_from: Option<&str>,
    auth: Option<&Auth>,
) -> Result<Pushed, Error> {
    let blob = &descriptor(content);
    let mut held = Held { content: content.to_vec(), sent: 0 };
    let pushed = client.push_blob(BlobPush { reference: image, blob, mount_from, auth }, &mut held).await?;
    let expected = if pushed == Pushed::Uploaded { content.len() as u64 } else { 0 };
    assert_eq!(held.sent, expected, "what is sent is told");
    Ok(pushed)
}

/// Content in memory.
struct Held {
    content: Vec<u8>,
    sent: u64,
}

impl Content for Held {
    type Reader = Cursor<Vec<u8>>;

    async fn open(&mut self) -> std::io::Result<Self::Reader> {
        Ok(Cursor::new(self.content.clone()))
    }

    fn sent(&mut self, bytes: u64) {
        self.sent = bytes;
    }
}

#[tokio::test]
async fn an_image_is_pushed_to_a_real_registry_and_comes_back() {
    let users: &[_] = &[("user", "pass")];
    let Some(registry) = DockerRegistry::start(Setup { users, ..Setup::default() }).await else { return };
    let image = reference(&format!("{}/team/app:v1", registry.host()));
    let (client, auth) = (client(), password("user", "pass"));

    let error = push(&client, &image, b"x", None).await.expect_err("is kept out");
    assert_eq!(error.kind(), Kind::Unauthenticated);

    // Nothing, one request, and several.
    let blobs = [Bytes::new(), content(1000), content(20 * MIB + 1)];
    for blob in &blobs {
        let pushed = push(&client, &image, blob, Some(&auth)).await.unwrap_or_else(|error| panic!("{}", chain(&error)));
        assert_eq!(pushed, Pushed::Uploaded);
        assert_eq!(push(&client, &image, blob, Some(&auth)).await.expect("pushes"), Pushed::Present);
        assert!(fetch(&client, &image, &descriptor(blob), Some(&auth)).await.expect("fetches") == *blob);
    }

    let [_, config, layer] = blobs;
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": Digest::of(&config), "size": config.len() },
        "layers": [{ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": Digest::of(&layer), "size": layer.len() }],
    });
    let manifest = Bytes::from(manifest.to_string());
    let digest = client.push_manifest(&image, MANIFEST, manifest.clone(), Some(&auth)).await.expect("pushes");
    let resolved = client.resolve(&image, Some(&auth)).await.expect("resolves");
    assert_eq!((resolved.digest, resolved.bytes, resolved.media_type.as_str()), (digest, manifest, MANIFEST));
}

#[tokio::test]
async fn a_blob_of_another_repository_is_mounted() {
    let Some(registry) = DockerRegistry::start(Setup::default()).await else { return };
    let image = reference(&format!("{}/new:v1", registry.host()));
    registry.push_blob("old", b"a layer").await;
    let client = client();
    let blob = descriptor(b"a layer");
    let mount = async |from| push_from(&client, &image, b"a layer", Some(from), None).await;
    assert_eq!(mount("old").await.expect("pushes"), Pushed::Mounted);
    assert_eq!(fetch(&client, &image, &blob, None).await.expect("fetches"), b"a layer");

    let other = push_from(&client, &image, b"other", Some("old"), None).await;
    assert_eq!(other.expect("pushes"), Pushed::Uploaded, "what is not there is sent");
}

#[tokio::test]
async fn a_manifest_whose_parts_are_missing_is_refused() {
    let Some(registry) = DockerRegistry::start(Setup::default()).await else { return };
    let image = reference(&format!("{}/a:v1", registry.host()));
    let digest = Digest::of(b"missing");
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{digest}","size":7}},"layers":[]}}"#
    );
    let error = client().push_manifest(&image, MANIFEST, manifest.into(), None).await.expect_err("is incomplete");
    assert!(chain(&error).contains("MANIFEST_BLOB_UNKNOWN"), "{}", chain(&error));
}

/// A registry that takes chunked uploads, and fails at one request.
async fn failing_once_at(number: usize, failure: Reply) -> (Scripted, std::sync::Arc<Mutex<usize>>) {
    let arrived = std::sync::Arc::new(Mutex::new(0));
    let store = arrived.clone();
    let registry = Scripted::start(move |seen| {
        let mut arrived = store.lock().expect("not poisoned");
        let range = |arrived: usize| format!("0-{}", arrived.saturating_sub(1));
        if seen.number == number {
            // It has arrived nevertheless, except for its last byte.
            *arrived += seen.body_length.saturating_sub(1);
            return failure.clone();
        }
        match seen.method.as_str() {
            "HEAD" => Reply::status(404),
            "POST" => Reply::status(202).header("Location", "/upload/1?state=a%2Fb"),
            "GET" => Reply::status(204).header("Location", "/upload/2?state=x").header("Range", &range(*arrived)),
            _ => {
                let first = seen.header("content-range").and_then(|range| range.split_once('-')?.0.parse().ok());
                if first != Some(*arrived) {
                    return Reply::status(416);
                }
                *arrived += seen.body_length;
                let status = if seen.method == "PUT" { 201 } else { 202 };
                Reply::status(status).header("Location", "/upload/3").header("Range", &range(*arrived))
            }
        }
    })
    .await;
    (registry, arrived)
}

#[tokio::test]
async fn an_upload_goes_on_after_a_failure_where_the_registry_is() {
    let content = content(20 * MIB);
    // Requests are HEAD, POST, and three with content.
    for number in [2, 3, 4] {
        for failure in [Reply::status(503), Reply::status(202).ending(Ending::Unanswered)] {
            let (registry, arrived) = failing_once_at(number, failure).await;
            let image = reference(&format!("{}/a:1", registry.host()));
            push(&client(), &image, &content, None).await.unwrap_or_else(|error| panic!("{number}: {}", chain(&error)));
            assert_eq!(*arrived.lock().expect("not poisoned"), content.len());
        }
    }
}

#[tokio::test]
async fn a_registry_that_does_not_take_an_upload_is_given_up() {
    let hangs = Reply::status(201).delay(Duration::from_secs(60));
    for (client, failure, kind) in [
        (client(), hangs, Kind::DeadlineExceeded),
        (patient_client(), Reply::status(500), Kind::Unavailable),
        (patient_client(), Reply::status(429).header("Retry-After", "3600"), Kind::Unavailable),
        (patient_client(), Reply::status(413), Kind::Unavailable),
        (patient_client(), Reply::status(201).ending(Ending::Unanswered), Kind::Unavailable),
        (patient_client(), Reply::redirect("http://127.0.0.1:1/"), Kind::Unavailable),
    ] {
        let shown = format!("{failure:?}");
        let registry = Scripted::start(move |seen| match seen.method.as_str() {
            "HEAD" => Reply::status(404),
            "POST" => Reply::status(202).header("Location", "/upload"),
            _ => failure.clone(),
        })
        .await;
        let image = reference(&format!("{}/a:1", registry.host()));
        let error = push(&client, &image, b"x", None).await.expect_err(&shown);
        assert_eq!(error.kind(), kind, "{shown}: {}", chain(&error));
    }
}

#[tokio::test]
async fn a_manifest_that_arrives_as_another_one_is_noticed() {
    let other = Digest::of(b"something else").to_string();
    let registry = Scripted::start(move |_| Reply::status(201).header("Docker-Content-Digest", &other)).await;
    let image = reference(&format!("{}/a:1", registry.host()));
    let error =
        patient_client().push_manifest(&image, MANIFEST, Bytes::from("{}"), None).await.expect_err("it is another");
    assert_eq!((error.kind(), error.side()), (Kind::DataLoss, Side::Registry));
}

#[tokio::test]
async fn credentials_do_not_follow_an_upload_to_another_host() {
    let storage = Scripted::start(|_| Reply::status(201)).await;
    let location = format!("http://{}/upload?signature=1", storage.host());
    let registry = Scripted::start(move |seen| match (seen.header("authorization"), seen.method.as_str()) {
        (None, _) => Reply::status(401).header("WWW-Authenticate", "Basic realm=x"),
        (_, "HEAD") => Reply::status(404),
        _ => Reply::status(202).header("Location", &location),
    })
    .await;
    let image = reference(&format!("{}/a:1", registry.host()));
    push(&client(), &image, b"x", Some(&password("user", "pass"))).await.expect("pushes");
    let seen = &storage.seen()[0];
    assert_eq!(seen.header("authorization"), None);
    assert!(seen.target.starts_with("/upload?signature=1&digest=sha256%3A"), "{}", seen.target);
}

#[tokio::test]
async fn content_that_is_too_short_is_our_own_fault() {
    let (registry, _) = failing_once_at(usize::MAX, Reply::status(500)).await;
    let image = reference(&format!("{}/a:1", registry.host()));
    let blob = descriptor(b"more than there is");
    let push = BlobPush { reference: &image, blob: &blob, mount_from: None, auth: None };
    let mut short = Held { content: b"short".to_vec(), sent: 0 };
    let error = client().push_blob(push, &mut short).await.expect_err("is too short");
    assert_eq!(error.side(), Side::Local);
}

#[tokio::test]
async fn a_token_for_pushing_is_asked_for() {
    let server = Scripted::start(|_| Reply::ok(r#"{"token":"t"}"#)).await;
    let challenge = format!(r#"Bearer realm="http://{}/token""#, server.host());
    let registry = Scripted::start(move |seen| match seen.header("authorization") {
        Some("Bearer t") => Reply::ok(""),
        _ => Reply::status(401).header("WWW-Authenticate", &challenge),
    })
    .await;
    let image = reference(&format!("{}/a:1", registry.host()));
    let pushed = push_from(&client(), &image, b"x", Some("b/c"), None).await;
    assert_eq!(pushed.expect("pushes"), Pushed::Present);
    assert_eq!(server.seen()[0].target, "/token?scope=repository%3Aa%3Apull%2Cpush&scope=repository%3Ab%2Fc%3Apull");
}
