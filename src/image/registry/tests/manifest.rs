//! Resolving tags and digests.

use super::{
    docker_registry::{DockerRegistry, Setup},
    scripted::{Ending, Reply, Scripted},
    *,
};
use crate::error::{Classify as _, Kind, chain};

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

#[tokio::test]
async fn a_real_registry_gives_manifests_by_tag_and_by_digest() {
    let Some(registry) = DockerRegistry::start(Setup::default()).await else { return };
    let manifest = registry.push_image("team/app", "v1", b"a layer").await;
    let digest = Digest::of(manifest.as_bytes());
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{{"mediaType":"application/vnd.docker.distribution.manifest.v2+json","digest":"{digest}","size":{},"platform":{{"architecture":"amd64","os":"linux"}}}}]}}"#,
        manifest.len()
    );
    registry.push_manifest("team/app", "multi", OCI_INDEX, &index).await;

    let client = client();
    let image = reference(&format!("{}/team/app:v1", registry.host()));
    let resolved = client.resolve(&image, None).await.unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert_eq!(resolved.bytes, manifest.as_bytes());
    assert_eq!(resolved.digest, digest);
    assert_eq!(resolved.media_type, "application/vnd.docker.distribution.manifest.v2+json");

    let by_digest =
        client.resolve(&image.pinned(digest), None).await.unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert_eq!(by_digest.bytes, resolved.bytes);

    let multi = reference(&format!("{}/team/app:multi", registry.host()));
    let index_resolved = client.resolve(&multi, None).await.unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert_eq!(index_resolved.media_type, OCI_INDEX);
    let member =
        client.manifest_by_digest(&multi, digest, None).await.unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert_eq!(member.bytes, resolved.bytes);
}

#[tokio::test]
async fn a_real_registry_does_not_know_what_was_not_pushed() {
    let Some(registry) = DockerRegistry::start(Setup::default()).await else { return };
    registry.push_image("app", "v1", b"a layer").await;
    let client = client();
    for name in ["app:v2", "other:v1"] {
        let image = reference(&format!("{}/{name}", registry.host()));
        let error = client.resolve(&image, None).await.expect_err("is not there");
        assert_eq!(error.kind(), Kind::NotFound);
        let text = chain(&error);
        assert!(text.contains(name) && text.contains("404") && text.contains("MANIFEST_UNKNOWN"), "{text}");
    }
}

async fn resolve_from(
    script: impl Fn(&super::scripted::Seen) -> Reply + Send + Sync + 'static,
) -> Result<Resolved, Error> {
    let registry = Scripted::start(script).await;
    client().resolve(&reference(&format!("{}/a:1", registry.host())), None).await
}

#[tokio::test]
async fn a_manifest_with_another_digest_than_promised_is_refused() {
    let lie = Digest::of(b"something else").to_string();
    let error = resolve_from(move |_| Reply::ok("{}").header("Docker-Content-Digest", &lie)).await.expect_err("a lie");
    assert_eq!(error.kind(), Kind::DataLoss);
    assert_eq!(error.side(), Side::Registry);

    let registry = Scripted::start(|_| Reply::ok("{}")).await;
    let image = reference(&format!("{}/a@{}", registry.host(), Digest::of(b"something else")));
    let error = client().resolve(&image, None).await.expect_err("not what was asked for");
    assert_eq!(error.kind(), Kind::DataLoss);
}

#[tokio::test]
async fn an_endless_manifest_is_refused() {
    let with_length = resolve_from(|_| Reply::ok("").length(Some(1 << 40)).ending(Ending::Endless)).await;
    let without = resolve_from(|_| Reply::ok("").length(None).ending(Ending::Endless)).await;
    for result in [with_length, without] {
        assert!(chain(&result.expect_err("too long")).contains("longer than"));
    }
}

#[tokio::test]
async fn a_manifest_in_schema_1_is_refused_with_a_reason() {
    let media_type = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    let error = resolve_from(move |_| Reply::ok("{}").header("Content-Type", media_type)).await.expect_err("schema 1");
    assert_eq!(error.kind(), Kind::Unimplemented);
    assert!(chain(&error).contains("schema 1"));
}

#[tokio::test]
async fn busy_registries_are_asked_again() {
    for status in [429, 500, 502, 503, 504] {
        let resolved = resolve_from(move |seen| match seen.number {
            0 | 1 => Reply::status(status),
            _ => Reply::ok("{}"),
        });
        assert_eq!(resolved.await.expect("resolves at last").bytes, "{}");
    }
}

#[tokio::test]
async fn a_registry_says_how_long_it_wants_to_be_left_alone() {
    let started = std::time::Instant::now();
    let script = |seen: &super::scripted::Seen| match seen.number {
        0 => Reply::status(429).header("Retry-After", "1"),
        _ => Reply::ok("{}"),
    };
    resolve_from(script).await.unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert!(started.elapsed() >= Duration::from_secs(1));

    let started = std::time::Instant::now();
    let error = resolve_from(|_| Reply::status(429).header("Retry-After", "3600")).await.expect_err("too long a wait");
    assert!(started.elapsed() < Duration::from_secs(1));
    assert_eq!(error.kind(), Kind::Unavailable);
    assert_eq!(error.retry(), Retry::After(Some(Duration::from_secs(3600))));
}

#[tokio::test]
async fn a_broken_registry_fails_after_all_attempts() {
    let registry = Scripted::start(|_| Reply::status(500)).await;
    let image = reference(&format!("{}/a:1", registry.host()));
    let error = client().resolve(&image, None).await.expect_err("is broken");
    assert_eq!(error.kind(), Kind::Unavailable);
    assert_eq!(registry.seen().len(), 3);
}

#[tokio::test]
async fn a_hanging_registry_is_given_up() {
    let error = resolve_from(|_| Reply::ok("").delay(Duration::from_secs(60))).await.expect_err("hangs");
    assert_eq!(error.kind(), Kind::DeadlineExceeded);
    assert_eq!(error.side(), Side::Network);
    let error = resolve_from(|_| Reply::ok("{").length(Some(2)).ending(Ending::Hanging)).await.expect_err("hangs");
    assert_eq!(error.kind(), Kind::DeadlineExceeded);
}

#[tokio::test]
async fn nobody_listening_is_said_clearly() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = free.local_addr().expect("is bound");
    drop(free);
    let error = client().resolve(&reference(&format!("{address}/a:1")), None).await.expect_err("nobody is there");
    assert_eq!(error.kind(), Kind::Unavailable);
    assert_eq!(error.side(), Side::Network);
    let text = chain(&error);
    assert!(text.contains("Connection refused") && text.contains(&address.to_string()), "{text}");
}

#[tokio::test]
async fn names_of_hosts_are_resolved() {
    let registry = Scripted::start(|_| Reply::ok("{}")).await;
    let by_name = reference(&format!("{}/a:1", registry.host().replace("127.0.0.1", "localhost")));
    client().resolve(&by_name, None).await.unwrap_or_else(|error| panic!("{}", chain(&error)));

    // A name that by its definition nobody has, so no name server is asked for it.
    let error = client().resolve(&reference("host.invalid/a:1"), None).await.expect_err("has no address");
    assert_eq!(error.kind(), Kind::Unavailable);
    assert_eq!(error.side(), Side::Network);
    assert!(chain(&error).contains("host.invalid"), "{}", chain(&error));
}

#[tokio::test]
async fn huge_headers_are_refused() {
    let error = resolve_from(|_| {
        let line = "x".repeat(60_000);
        (0..30).fold(Reply::ok("{}"), |reply, number| reply.header(&format!("X-{number}"), &line))
    });
    let error = error.await.expect_err("nobody needs such headers");
    assert_eq!(error.side(), Side::Registry, "{}", chain(&error));
    assert_eq!(error.retry(), Retry::Never);
}

#[tokio::test]
async fn what_is_not_http_is_refused() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("is bound");
    let server = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"SSH-2.0-OpenSSH\r\n\r\n").await;
        }
    });
    let error = client().resolve(&reference(&format!("{address}/a:1")), None).await.expect_err("is no registry");
    server.abort();
    assert_ne!(error.kind(), Kind::NotFound, "{}", chain(&error));
}

#[tokio::test]
async fn a_refusal_shows_the_reason_cleaned_and_cut() {
    let reason = format!(r#"{{"errors":[{{"code":"DENIED","message":"no\u0007\n{}"}}]}}"#, "x".repeat(5000));
    let error = resolve_from(move |_| Reply::ok(reason.clone()).with_status(403)).await.expect_err("denied");
    assert_eq!(error.kind(), Kind::PermissionDenied);
    let text = chain(&error);
    assert!(text.contains("DENIED: no  x") && text.len() < 600, "{text}");
}
