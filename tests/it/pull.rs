//! Pulling, from a registry that works and from ones that do not.

use std::fs;

use berth::wire::{AuthConfig, ImageSpec, PullImageRequest};
use tonic::Code;

use crate::{
    images::find,
    support::{
        Archive, BUSYBOX, Compression, Daemon, Fault, FaultyRegistry, Layer, Registry, eventually, refusal, shell,
    },
};

pub(crate) fn request(image: &str) -> PullImageRequest {
    PullImageRequest { image: Some(ImageSpec { image: image.to_owned(), ..Default::default() }), ..Default::default() }
}

pub(crate) async fn pull(daemon: &Daemon, image: &str) -> Result<String, tonic::Status> {
    daemon.image().pull_image(request(image)).await.map(|answer| answer.into_inner().image_ref)
}

#[tokio::test]
async fn an_image_is_pulled_by_tag_and_runs() {
    requires!(Root, DockerRegistry);
    let daemon = Daemon::start().await;
    let registry = Registry::start().await;
    let archive = Archive::busybox();
    let name = registry.push(&archive, "library/busybox", "1.36").await;
    let id = pull(&daemon, &name).await.expect("pull");
    assert_eq!(id, archive.id());
    let image = find(&daemon, &name).await.expect("the image");
    assert_eq!(image.repo_tags, [name.as_str()]);
    assert_eq!(image.repo_digests, [format!("{}/library/busybox@{}", Registry::ADDRESS, archive.manifest)]);
    for reference in [&image.id, &image.repo_digests[0]] {
        assert_eq!(find(&daemon, reference).await.as_ref(), Some(&image), "{reference}");
    }
    let mut config = shell("c", "echo pulled");
    config.image.as_mut().expect("an image").image = id;
    let (status, text) = daemon.run_to_end(&config).await;
    assert_eq!(text, "pulled\n");
    assert_eq!((&status.image_id, &status.image_ref), (&image.id, &image.repo_digests[0]));
    assert_eq!(status.image.expect("an image").image, name);
}

#[tokio::test]
async fn an_image_is_pulled_by_digest_and_has_no_tag() {
    requires!(Root, DockerRegistry);
    let daemon = Daemon::start().await;
    let registry = Registry::start().await;
    let archive = Archive::busybox();
    registry.push(&archive, "busybox", "latest").await;
    let name = format!("{}/busybox@{}", Registry::ADDRESS, archive.manifest);
    pull(&daemon, &name).await.expect("pull");
    let image = find(&daemon, &name).await.expect("the image");
    assert!(image.repo_tags.is_empty(), "{image:?}");
    assert_eq!(image.repo_digests, [name]);
}

#[tokio::test]
async fn layers_of_all_compressions_are_pulled() {
    requires!(Root, DockerRegistry);
    let daemon = Daemon::start().await;
    let registry = Registry::start().await;
    let layer = |name: &str| Layer::new().file(name, 0o644, 0, name.as_bytes());
    let archive = Archive::busybox()
        .with_layer(layer("gzip"), Compression::Gzip)
        .with_layer(layer("zstd"), Compression::Zstd)
        .with_layer(layer("none"), Compression::None);
    let name = registry.push(&archive, "layers", "latest").await;
    let mut config = shell("c", "cat /gzip /zstd /none");
    config.image.as_mut().expect("an image").image = pull(&daemon, &name).await.expect("pull");
    assert_eq!(daemon.run_to_end(&config).await.1.trim(), "gzipzstdnone");
}

#[tokio::test]
async fn equal_pulls_at_once_are_one() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let registry = FaultyRegistry::start(Archive::busybox(), Fault::None).await;
    let name = registry.image();
    let pulls = futures_util::future::join_all((0..8).map(|_| pull(&daemon, &name))).await;
    for id in pulls {
        assert_eq!(id.expect("pull"), Archive::busybox().id());
    }
    // A manifest by tag, perhaps again by digest, a configuration and a layer: not eight times.
    assert!(registry.requests() < 16, "{} requests", registry.requests());
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    requires!(Root, DockerRegistry);
    let daemon = Daemon::start().await;
    let registry = Registry::start().await;
    registry.push(&Archive::busybox(), "busybox", "latest").await;
    for image in ["busybox:no-such-tag", "no-such-image:latest"] {
        let (code, message) =
            refusal(daemon.image().pull_image(request(&format!("{}/{image}", Registry::ADDRESS))).await);
        assert_eq!(code, Code::NotFound, "{message}");
        assert!(message.contains(image.split(':').next().expect("a name")), "{message}");
    }
}

#[tokio::test]
async fn names_that_do_not_parse_are_refused() {
    requires!(Root);
    let daemon = Daemon::start().await;
    for image in [
        "",
        " ",
        "a/UPPER/case",
        "a b",
        "x:",
        ":x",
        "x@sha256:12",
        "http://x/y",
        "x/../y",
        "127.0.0.1:99999/x",
        &"a".repeat(5000),
    ] {
        let (code, message) = refusal(daemon.image().pull_image(request(image)).await);
        assert_eq!(code, Code::InvalidArgument, "{image:?}: {message}");
    }
}

#[tokio::test]
async fn registries_that_lie_or_break_are_caught() {
    requires!(Root);
    let daemon = Daemon::start().await;
    for (fault, codes) in [
        (Fault::OtherBytes, &[Code::DataLoss][..]),
        (Fault::Truncated, &[Code::DataLoss, Code::Unknown]),
        (Fault::WebPage, &[Code::DataLoss, Code::InvalidArgument, Code::Unimplemented]),
        // What kubelet knows by its text has no code of its own.
        (Fault::Broken, &[Code::Unknown]),
        (Fault::Locked, &[Code::Unauthenticated, Code::PermissionDenied]),
    ] {
        let registry = FaultyRegistry::start(Archive::busybox(), fault).await;
        let (code, message) = refusal(daemon.image().pull_image(request(&registry.image())).await);
        assert!(codes.contains(&code), "{fault:?}: {code:?} {message}");
        assert_eq!(find(&daemon, &registry.image()).await, None, "{fault:?}: half an image is there");
    }
    let plain = Archive::busybox().with_layer(Layer::new().file("x", 0o644, 0, b"x"), Compression::None);
    let mislabelled = plain.with_manifest(|manifest| {
        manifest["layers"][1]["mediaType"] = serde_json::json!("application/vnd.oci.image.layer.v1.tar+gzip");
    });
    let registry = FaultyRegistry::start(mislabelled, Fault::None).await;
    let (code, message) = refusal(daemon.image().pull_image(request(&registry.image())).await);
    assert!(matches!(code, Code::DataLoss | Code::InvalidArgument), "a plain layer that is called gzip: {message}");

    let registry = FaultyRegistry::start(Archive::busybox(), Fault::OtherManifest).await;
    let by_digest = registry.image().replace(":latest", &format!("@{}", Archive::busybox().manifest));
    let (code, message) = refusal(daemon.image().pull_image(request(&by_digest)).await);
    assert_eq!(code, Code::DataLoss, "{message}");
}

#[tokio::test]
async fn short_troubles_are_overcome() {
    requires!(Root);
    let daemon = Daemon::start().await;
    for fault in [Fault::Flaky, Fault::Interrupted] {
        let archive =
            Archive::busybox().with_config(&serde_json::json!({ "Labels": { "fault": format!("{fault:?}") } }));
        let registry = FaultyRegistry::start(archive.clone(), fault).await;
        let id = pull(&daemon, &registry.image()).await.unwrap_or_else(|status| panic!("{fault:?}: {status:?}"));
        assert_eq!(id, archive.id());
    }
}

#[tokio::test]
async fn a_registry_that_says_nothing_holds_nobody_else_up() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let silent = FaultyRegistry::start(Archive::busybox(), Fault::Silent).await;
    let mut hanging = tonic::Request::new(request(&silent.image()));
    hanging.set_timeout(std::time::Duration::from_secs(2));
    let mut image = daemon.image();
    let work = async {
        let (status, _) = daemon.run_to_end(&shell("c", "true")).await;
        assert_eq!(status.exit_code, 0);
    };
    let (answer, ()) = tokio::join!(image.pull_image(hanging), work);
    let code = answer.expect_err("a timeout").code();
    assert!(matches!(code, Code::DeadlineExceeded | Code::Cancelled), "{code:?}");
}

#[tokio::test]
async fn an_abandoned_pull_leaves_nothing_half_made() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let registry = FaultyRegistry::start(Archive::busybox(), Fault::None).await;
    let mut short = tonic::Request::new(request(&registry.image()));
    short.set_timeout(std::time::Duration::from_millis(1));
    let code = daemon.image().pull_image(short).await.expect_err("a timeout").code();
    assert!(matches!(code, Code::DeadlineExceeded | Code::Cancelled), "{code:?}");
    // What goes on in the background may finish; a new pull works either way.
    pull(&daemon, &registry.image()).await.expect("pull");
}

#[tokio::test]
async fn nobody_at_the_address_is_unavailable() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let (code, message) = refusal(daemon.image().pull_image(request("127.0.0.1:9/x:latest")).await);
    assert!(code == Code::Unknown && message.starts_with("RegistryUnavailable: "), "{code:?} {message}");
    assert!(message.contains("127.0.0.1:9"), "{message}");
}

#[tokio::test]
async fn mirrors_are_asked_first_and_upstream_is_the_way_out() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let mirror = FaultyRegistry::start(Archive::busybox(), Fault::None).await;
    let host = mirror.image().split('/').next().expect("a host").to_owned();
    let directory = daemon.path("certs.d/upstream.example");
    fs::create_dir_all(&directory).expect("make a directory");
    let hosts = format!(
        "server = \"https://upstream.example\"\n[host.\"http://{host}\"]\ncapabilities = [\"pull\", \"resolve\"]\n"
    );
    fs::write(directory.join("hosts.toml"), hosts).expect("write hosts.toml");
    pull(&daemon, "upstream.example/image:latest").await.expect("pull through the mirror");
    let image = find(&daemon, "upstream.example/image:latest").await.expect("the image");
    assert_eq!(image.repo_tags, ["upstream.example/image:latest"]);

    // A mirror that is down is passed over.
    let upstream = FaultyRegistry::start(Archive::busybox(), Fault::None).await;
    let host = upstream.image().split('/').next().expect("a host").to_owned();
    let directory = daemon.path("certs.d").join(&host);
    fs::create_dir_all(&directory).expect("make a directory");
    let hosts = format!("server = \"http://{host}\"\n[host.\"http://127.0.0.1:9\"]\n");
    fs::write(directory.join("hosts.toml"), hosts).expect("write hosts.toml");
    pull(&daemon, &upstream.image()).await.expect("pull from upstream");
}

#[tokio::test]
async fn a_mirror_that_gives_wrong_bytes_is_passed_over() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let wrong = FaultyRegistry::start(Archive::busybox(), Fault::OtherBytes).await;
    let upstream = FaultyRegistry::start(Archive::busybox(), Fault::None).await;
    let host = |registry: &FaultyRegistry| registry.image().split('/').next().expect("a host").to_owned();
    let directory = daemon.path("certs.d").join(host(&upstream));
    fs::create_dir_all(&directory).expect("make a directory");
    let hosts = format!("server = \"http://{}\"\n[host.\"http://{}\"]\n", host(&upstream), host(&wrong));
    fs::write(directory.join("hosts.toml"), hosts).expect("write hosts.toml");
    assert_eq!(pull(&daemon, &upstream.image()).await.expect("pull"), Archive::busybox().id());
    assert!(wrong.requests() > 2, "the mirror was not asked for blobs");
    let said = daemon.output();
    assert!(said.contains("wrong content") && said.contains(&host(&wrong)), "nobody hears of it: {said}");
}

#[tokio::test]
async fn a_password_counts_for_its_pull_alone() {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    requires!(Root);
    let daemon = Daemon::start().await;
    let registry = FaultyRegistry::start(Archive::busybox(), Fault::Locked).await;
    let pull = async |auth: Option<AuthConfig>| {
        let request = PullImageRequest { auth, ..request(&registry.image()) };
        daemon.image().pull_image(request).await.map(|answer| answer.into_inner().image_ref)
    };
    let password =
        |password: &str| AuthConfig { username: "user".into(), password: password.into(), ..Default::default() };
    let encoded = BASE64_STANDARD.encode("user:secret") + "\n";
    let elsewhere = AuthConfig { server_address: "other.example".into(), ..password("secret") };
    for (auth, is_right, what) in [
        (None, false, "none"),
        (Some(password("secret")), true, "the right one"),
        (None, false, "none after the right one"),
        (Some(password("wrong")), false, "a wrong one"),
        (Some(AuthConfig { auth: encoded, ..Default::default() }), true, "the right one, encoded"),
        (Some(elsewhere), false, "the right one for another registry"),
    ] {
        match pull(auth).await {
            Ok(id) => assert!(is_right && id == Archive::busybox().id(), "{what} is enough"),
            Err(status) => {
                assert!(!is_right && status.code() == Code::Unauthenticated, "{what}: {status:?}");
                assert!(!status.message().contains("secret"), "{status:?}");
            }
        }
    }
}

#[tokio::test]
async fn passwords_are_not_logged() {
    requires!(Root);
    let daemon = Daemon::start_with("[log]\nlevel = \"trace\"\n").await;
    let registry = FaultyRegistry::start(Archive::busybox(), Fault::Locked).await;
    let mut with_password = request(&registry.image());
    with_password.auth =
        Some(AuthConfig { username: "user".into(), password: "hunter2-secret".into(), ..Default::default() });
    refusal(daemon.image().pull_image(with_password).await);
    eventually("the pull is logged", async || daemon.output().contains("ullImage")).await;
    assert!(!daemon.output().contains("hunter2"), "the password is in the log");
}

#[tokio::test]
async fn images_survive_a_restart() {
    requires!(Root);
    let mut daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let before = find(&daemon, BUSYBOX).await.expect("the image");
    daemon.kill();
    daemon.start_again().await;
    assert_eq!(find(&daemon, BUSYBOX).await, Some(before));
    let (_, text) = daemon.run_to_end(&shell("c", "echo still here")).await;
    assert_eq!(text, "still here\n");
}
