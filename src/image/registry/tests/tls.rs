//! Whom we believe and what we show, with self-made certificates.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use tempfile::TempDir;

use super::{
    docker_registry::{DockerRegistry, Setup, is_installed},
    push::push,
    scripted::{Reply, Scripted},
    *,
};
use crate::error::{Classify as _, Kind, chain};

/// An authority with certificates of its own making.
struct Authority {
    directory: TempDir,
}

impl Authority {
    /// Makes an authority, or says that the program for it is not installed and returns `None`.
    fn new() -> Option<Self> {
        if !is_installed("openssl") {
            eprintln!("SKIPPED: openssl is not installed");
            return None;
        }
        let authority = Self { directory: tempfile::tempdir().expect("makes a directory") };
        // Without this, every certificate would be an authority's.
        std::fs::write(authority.path("openssl.cnf"), "[req]\ndistinguished_name = name\n[name]\n").expect("writes");
        let (is_authority, address) = ("basicConstraints=critical,CA:TRUE", "subjectAltName=IP:127.0.0.1");
        authority.certify("ca", &["-addext", is_authority]);
        authority.certify("server", &["-CA", "ca.crt", "-CAkey", "ca.key", "-addext", address]);
        authority.certify("client", &["-CA", "ca.crt", "-CAkey", "ca.key", "-addext", "basicConstraints=CA:FALSE"]);
        authority.certify("self", &["-addext", is_authority, "-addext", address]);
        authority.certify("other", &["-addext", is_authority, "-addext", "subjectAltName=IP:127.0.0.2"]);
        Some(authority)
    }

    fn certify(&self, name: &str, options: &[&str]) {
        let status = Command::new("openssl")
            .current_dir(self.directory.path())
            .args([
                "req",
                "-config",
                "openssl.cnf",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-days",
                "2",
            ])
            .args(["-subj", &format!("/CN={name}")])
            .args(["-out", &format!("{name}.crt"), "-keyout", &format!("{name}.key")])
            .args(options)
            .stderr(Stdio::null())
            .status();
        assert!(status.expect("runs openssl").success(), "openssl cannot make {name}");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    async fn registry(&self, name: &str, setup: Setup<'_>) -> Option<DockerRegistry> {
        let (certificate, key) = (self.path(&format!("{name}.crt")), self.path(&format!("{name}.key")));
        DockerRegistry::start(Setup { tls: Some((&certificate, &key)), ..setup }).await
    }
}

/// A client for which `a.example` is served by `host`, with further settings.
fn client_of(host: &str, settings: &str) -> (TempDir, Client) {
    let directory = tempfile::tempdir().expect("makes a directory");
    let own = directory.path().join("a.example");
    std::fs::create_dir(&own).expect("makes a directory");
    std::fs::write(own.join("hosts.toml"), format!("server = \"https://{host}\"\n{settings}\n")).expect("writes");
    let client = Client::new(patient(directory.path()));
    (directory, client)
}

#[tokio::test]
async fn certificates_are_believed_by_authority_or_by_explicit_choice_only() {
    let Some(authority) = Authority::new() else { return };
    let Some(registry) = authority.registry("server", Setup::default()).await else { return };
    registry.push_image("b", "1", b"a layer").await;
    let image = reference("a.example/b:1");

    let (_directory, client) = client_of(&registry.host(), "");
    let error = client.resolve(&image, None).await.expect_err("nobody vouches for it");
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(chain(&error).contains("certificate"), "{}", chain(&error));

    let by_authority = format!("ca = {:?}", authority.path("ca.crt"));
    for settings in [by_authority.as_str(), "skip_verify = true"] {
        let (_directory, client) = client_of(&registry.host(), settings);
        client.resolve(&image, None).await.expect(settings);
        assert_eq!(fetch(&client, &image, &descriptor(b"a layer"), None).await.expect(settings), b"a layer");
    }

    // What is believed of one host is not of another one, although the client is the same.
    let (directory, client) = client_of(&registry.host(), "skip_verify = true");
    client.resolve(&image, None).await.expect("is believed");
    let other = directory.path().join("other.example");
    std::fs::create_dir(&other).expect("makes a directory");
    std::fs::write(other.join("hosts.toml"), format!("server = \"https://{}\"", registry.host())).expect("writes");
    client.resolve(&reference("other.example/b:1"), None).await.expect_err("is not believed");
}

#[tokio::test]
async fn a_self_signed_certificate_is_believed_if_it_is_configured_and_for_that_host() {
    let Some(authority) = Authority::new() else { return };
    for (name, is_believed) in [("self", true), ("other", false)] {
        let Some(registry) = authority.registry(name, Setup::default()).await else { return };
        let certificate = authority.path(&format!("{name}.crt"));
        for (settings, is_configured) in [(format!("ca = {certificate:?}"), true), (String::new(), false)] {
            let (_directory, client) = client_of(&registry.host(), &settings);
            let error = client.resolve(&reference("a.example/b:1"), None).await.expect_err("there is no image");
            let expected = if is_believed && is_configured { Kind::NotFound } else { Kind::Unavailable };
            assert_eq!(error.kind(), expected, "{name} {settings}: {}", chain(&error));
        }
    }
}

#[tokio::test]
async fn loopback_registries_are_believed_without_configuration() {
    let Some(authority) = Authority::new() else { return };
    let Some(registry) = authority.registry("server", Setup::default()).await else { return };
    registry.push_image("b", "1", b"a layer").await;
    client().resolve(&reference(&format!("{}/b:1", registry.host())), None).await.expect("resolves");
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_the_registry_that_wants_one() {
    let Some(authority) = Authority::new() else { return };
    let ca = authority.path("ca.crt");
    let Some(registry) = authority.registry("server", Setup { client_authority: Some(&ca), ..Setup::default() }).await
    else {
        return;
    };
    let image = reference("a.example/b:1");

    let (_directory, client) = client_of(&registry.host(), &format!("ca = {ca:?}"));
    let error = client.resolve(&image, None).await.expect_err("wants a certificate");
    assert_eq!(error.kind(), Kind::Unavailable, "{}", chain(&error));

    let pair =
        format!("ca = {ca:?}\nclient = [[{:?}, {:?}]]", authority.path("client.crt"), authority.path("client.key"));
    let both = authority.path("both.pem");
    let text = [std::fs::read(authority.path("client.key")), std::fs::read(authority.path("client.crt"))];
    std::fs::write(&both, text.map(|text| text.expect("reads")).concat()).expect("writes");
    for settings in [pair, format!("ca = {ca:?}\nclient = {both:?}")] {
        let (_directory, client) = client_of(&registry.host(), &settings);
        let error = client.resolve(&image, None).await.expect_err("there is no image");
        assert_eq!(error.kind(), Kind::NotFound, "{}", chain(&error));
    }
}

#[tokio::test]
async fn passwords_and_content_go_to_a_real_registry_over_tls() {
    let Some(authority) = Authority::new() else { return };
    let users: &[_] = &[("user", "pass")];
    let Some(registry) = authority.registry("server", Setup { users, ..Setup::default() }).await else { return };
    let (_directory, client) = client_of(&registry.host(), &format!("ca = {:?}", authority.path("ca.crt")));
    let (image, auth) = (reference("a.example/b:1"), password("user", "pass"));
    for stranger in [None, Some(&password("user", "guess"))] {
        let error = push(&client, &image, b"a layer", stranger).await.expect_err("is kept out");
        assert_eq!(error.kind(), Kind::Unauthenticated, "{}", chain(&error));
    }
    assert_eq!(push(&client, &image, b"a layer", Some(&auth)).await.expect("pushes"), Pushed::Uploaded);
    assert_eq!(fetch(&client, &image, &descriptor(b"a layer"), Some(&auth)).await.expect("fetches"), b"a layer");
    registry.push_image("b", "1", b"a layer").await;
    client.resolve(&image, Some(&auth)).await.expect("resolves");
}

#[tokio::test]
async fn unusable_certificate_files_are_said_by_name() {
    let Some(authority) = Authority::new() else { return };
    let garbage = authority.path("garbage.pem");
    std::fs::write(&garbage, "no certificate").expect("writes");
    for setting in ["ca", "client"] {
        let (_directory, client) = client_of("127.0.0.1:1", &format!("{setting} = {garbage:?}"));
        let error = client.resolve(&reference("a.example/b:1"), None).await.expect_err("is garbage");
        assert_eq!(error.kind(), Kind::FailedPrecondition);
        assert!(chain(&error).contains("garbage.pem"), "{}", chain(&error));
    }
}

#[tokio::test]
async fn nothing_is_downgraded_from_tls() {
    let Some(authority) = Authority::new() else { return };
    // The script's connections are plain; only what it is asked matters.
    let plain = Scripted::start(|_| Reply::ok("{}")).await;
    let users: &[_] = &[("user", "pass")];
    let Some(registry) = authority.registry("server", Setup { users, ..Setup::default() }).await else { return };
    registry.push_image("b", "1", b"a layer").await;
    let (_directory, client) = client_of(&registry.host(), "skip_verify = true");
    client.resolve(&reference("a.example/b:1"), Some(&password("user", "pass"))).await.expect("resolves");

    // A host that is configured with TLS is never asked without.
    let (_directory, client) = client_of(&plain.host(), "skip_verify = true");
    let error = client.resolve(&reference("a.example/b:1"), Some(&password("user", "pass"))).await;
    assert_eq!(error.expect_err("does not speak TLS").kind(), Kind::Unavailable);
    assert_eq!(plain.seen().len(), 0);
}
