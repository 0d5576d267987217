use super::*;

async fn endpoints_of(domain: &str, files: &[(&str, &str)]) -> Result<Vec<Endpoint>, Error> {
    let directory = tempfile::tempdir().expect("makes a directory");
    for (path, text) in files {
        let path = directory.path().join(path);
        std::fs::create_dir_all(path.parent().expect("has a parent")).expect("makes a directory");
        std::fs::write(path, text).expect("writes");
    }
    endpoints(directory.path(), domain, Duration::from_secs(15)).await
}

async fn only_endpoint(domain: &str) -> Endpoint {
    let mut endpoints = endpoints_of(domain, &[]).await.expect("has a default");
    assert_eq!(endpoints.len(), 1);
    endpoints.remove(0)
}

#[tokio::test]
async fn without_configuration_registries_speak_tls_and_loopback_ones_perhaps() {
    for (domain, base, fallback, skip_verify) in [
        ("a.example", "https://a.example/v2", false, false),
        ("a.example:80", "https://a.example:80/v2", false, false),
        ("docker.io", "https://registry-1.docker.io/v2", false, false),
        ("10.0.0.1:5000", "https://10.0.0.1:5000/v2", false, false),
        ("localhost", "https://localhost/v2", false, true),
        ("localhost:443", "https://localhost/v2", false, true),
        ("localhost:5000", "https://localhost:5000/v2", true, true),
        ("127.1.2.3:5000", "https://127.1.2.3:5000/v2", true, true),
        ("[::1]:5000", "https://[::1]:5000/v2", true, true),
        ("127.0.0.1:80", "http://127.0.0.1/v2", false, true),
    ] {
        let endpoint = only_endpoint(domain).await;
        assert_eq!(endpoint.base.as_str(), base, "{domain}");
        assert_eq!(endpoint.plain_fallback, fallback, "{domain}");
        assert_eq!(endpoint.transport.skip_verify, skip_verify, "{domain}");
        assert!(endpoint.upstream && endpoint.namespace.is_none(), "{domain}");
    }
}

#[tokio::test]
async fn a_domain_that_only_looks_like_an_address_is_refused() {
    let error = endpoints_of("1.2.3.999", &[]).await.expect_err("is no address");
    assert!(matches!(error, Error::InvalidDomain { .. }));
}

#[tokio::test]
async fn settings_of_the_file_hold_for_the_registry_when_no_server_is_named() {
    let file = "skip_verify = true\ncapabilities = [\"push\"]\n[host.\"mirror.example\"]\n";
    let endpoints = endpoints_of("a.example", &[("a.example/hosts.toml", file)]).await.expect("is valid");
    assert_eq!(endpoints[0].base.as_str(), "https://mirror.example/v2");
    assert!(!endpoints[0].upstream && !endpoints[0].transport.skip_verify);
    assert_eq!(endpoints[0].namespace.as_deref(), Some("a.example"));
    assert_eq!(endpoints[1].base.as_str(), "https://a.example/v2");
    assert!(endpoints[1].upstream && endpoints[1].transport.skip_verify);
    assert!(endpoints[1].can(Capability::Pull));
}

#[tokio::test]
async fn verification_can_be_asked_for_on_loopback_too() {
    let file = "skip_verify = false\n";
    let endpoints = endpoints_of("localhost:5000", &[("localhost_5000_/hosts.toml", file)]).await.expect("is valid");
    assert!(!endpoints[0].transport.skip_verify);
}

#[tokio::test]
async fn certificates_are_found_by_dockers_names() {
    let files = [("a.example/ca.crt", "ca"), ("a.example/me.cert", "cert"), ("a.example/me.key", "key")];
    let endpoints = endpoints_of("a.example", &files).await.expect("is valid");
    let transport = &endpoints[0].transport;
    assert_eq!(&*transport.authorities[0].text, b"ca");
    assert_eq!(&*transport.identity.as_ref().expect("is there").text, b"cert\nkey");
    assert!(!format!("{transport:?}").contains("key\""));

    for file in ["a.example/me.cert", "a.example/me.key"] {
        let error = endpoints_of("a.example", &[(file, "half")]).await.expect_err("is half a pair");
        assert!(matches!(error, Error::InvalidHosts { .. }));
    }
}

#[tokio::test]
async fn client_certificates_are_read_in_all_forms() {
    for (value, expected) in [
        ("\"both.pem\"", "both"),
        ("[\"both.pem\", \"c.pem\"]", "both"),
        ("[[\"c.pem\", \"k.pem\"]]", "c\nk"),
        ("[[\"both.pem\", \"\"], [\"c.pem\", \"k.pem\"]]", "both"),
    ] {
        let text = format!("client = {value}\n");
        let files = [
            ("a.example/hosts.toml", text.as_str()),
            ("a.example/both.pem", "both"),
            ("a.example/c.pem", "c"),
            ("a.example/k.pem", "k"),
        ];
        let endpoints = endpoints_of("a.example", &files).await.expect("is valid");
        let identity = endpoints[0].transport.identity.as_ref().expect("is there");
        assert_eq!(&*identity.text, expected.as_bytes(), "{value}");
    }
}

#[tokio::test]
async fn an_endless_file_is_not_read() {
    let directory = tempfile::tempdir().expect("makes a directory");
    let host = directory.path().join("a.example");
    std::fs::create_dir(&host).expect("makes a directory");
    std::os::unix::fs::symlink("/dev/zero", host.join("hosts.toml")).expect("links");
    let error = endpoints(directory.path(), "a.example", Duration::from_secs(1)).await.expect_err("has no end");
    assert!(matches!(error, Error::InvalidHosts { .. }));
}

#[test]
fn docker_hub_has_several_names() {
    assert!(same_registry("registry-1.docker.io", "docker.io"));
    assert!(same_registry("index.docker.io", "docker.io"));
    assert!(same_registry("A.example:443", "a.example"));
    assert!(!same_registry("a.example:5000", "a.example"));
    assert!(!same_registry("a.example.evil.example", "a.example"));
}
