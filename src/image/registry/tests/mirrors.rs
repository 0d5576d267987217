//! Mirrors as `hosts.toml` configures them.

use super::{
    scripted::{Ending, Reply, Scripted, Seen},
    *,
};
use crate::error::{Classify as _, Kind, chain};

const BASIC: &str = "Basic dXNlcjpwYXNz";

/// Host configuration for one registry.
struct Hosts {
    directory: tempfile::TempDir,
}

impl Hosts {
    fn new(name: &str, text: &str) -> Self {
        let directory = tempfile::tempdir().expect("makes a directory");
        let host = directory.path().join(name);
        std::fs::create_dir(&host).expect("makes a directory");
        std::fs::write(host.join("hosts.toml"), text).expect("writes");
        Self { directory }
    }

    fn client(&self) -> Client {
        Client::new(config(self.directory.path()))
    }
}

fn wants_password(seen: &Seen) -> Reply {
    match seen.header("authorization") {
        Some(BASIC) => Reply::ok("{}"),
        _ => Reply::status(401).header("WWW-Authenticate", "Basic realm=x"),
    }
}

async fn answering(content: &'static str) -> Scripted {
    Scripted::start(move |_| Reply::ok(content)).await
}

#[tokio::test]
async fn mirrors_are_asked_in_the_order_of_the_file_before_the_registry() {
    let failing = Scripted::start(|_| Reply::status(404)).await;
    let good = answering("{}").await;
    let registry = answering("{}").await;
    // Sorted by name or by length, the order would be another one in at least one of the two.
    for (first, second) in [(failing.host(), good.host()), (good.host(), failing.host())] {
        let before = (failing.seen().len(), good.seen().len());
        let text =
            format!("server = \"http://{}\"\n[host.\"http://{first}\"]\n[host.\"http://{second}\"]\n", registry.host());
        let hosts = Hosts::new("a.example", &text);
        hosts.client().resolve(&reference("a.example/b:1"), None).await.expect("resolves");
        let asked = (failing.seen().len() - before.0, good.seen().len() - before.1);
        assert_eq!(asked, if first == good.host() { (0, 1) } else { (1, 1) });
    }
    assert_eq!(registry.seen().len(), 0);
    assert_eq!(good.seen()[0].target, "/v2/b/manifests/1?ns=a.example");
}

#[tokio::test]
async fn whatever_a_mirror_does_the_registry_is_asked_next() {
    let registry = answering("{}").await;
    let lie = Digest::of(b"x").to_string();
    let replies = [
        Reply::status(404),
        Reply::status(401),
        Reply::status(403),
        Reply::status(500),
        Reply::status(429).header("Retry-After", "3600"),
        Reply::ok("").delay(Duration::from_secs(60)),
        Reply::ok("{").length(Some(2)).ending(Ending::Closed),
        Reply::ok("{}").header("Docker-Content-Digest", &lie),
        Reply::redirect("https://127.0.0.1:1/"),
        Reply::ok("<html>").header("Content-Type", "text/plain"),
    ];
    for reply in replies {
        let shown = format!("{reply:?}");
        let mirror = Scripted::start(move |_| reply.clone()).await;
        let text = format!("server = \"http://{}\"\n[host.\"http://{}\"]\n", registry.host(), mirror.host());
        let hosts = Hosts::new("a.example", &text);
        hosts.client().resolve(&reference("a.example/b:1"), None).await.expect(&shown);
        assert_eq!(mirror.seen().len(), 1, "{shown}");
    }
}

#[tokio::test]
async fn a_blob_is_continued_from_the_next_host() {
    let blob = content(1 << 20);
    let served = blob.clone();
    let mirror = Scripted::start(move |seen| match seen.number {
        0 => Reply::blob(seen, &served).cut(300_000, Ending::Closed),
        _ => Reply::status(404),
    })
    .await;
    let served = blob.clone();
    let registry = Scripted::start(move |seen| Reply::blob(seen, &served)).await;
    let text = format!("server = \"http://{}\"\n[host.\"http://{}\"]\n", registry.host(), mirror.host());
    let hosts = Hosts::new("a.example", &text);
    let image = reference("a.example/b:1");
    let fetched = fetch(&hosts.client(), &image, &descriptor(&blob), None).await.expect("fetches");
    assert!(fetched == blob, "content differs");
    assert_eq!(registry.seen()[0].header("range"), Some("bytes=300000-"));
}

#[tokio::test]
async fn an_error_tells_of_all_hosts() {
    let mirror = Scripted::start(|_| Reply::status(500)).await;
    let registry = Scripted::start(|_| Reply::status(404)).await;
    let text = format!("server = \"http://{}\"\n[host.\"http://{}\"]\n", registry.host(), mirror.host());
    let hosts = Hosts::new("a.example", &text);
    let error = hosts.client().resolve(&reference("a.example/b:1"), None).await.expect_err("nobody has it");
    assert_eq!(error.kind(), Kind::NotFound);
    let text = chain(&error);
    for part in ["a.example/b:1", &mirror.host(), &registry.host(), "500", "404"] {
        assert!(text.contains(part), "{part} is missing: {text}");
    }
}

#[tokio::test]
async fn an_unreachable_registry_does_not_hide_the_mirrors_answer() {
    let mirror = Scripted::start(|_| Reply::status(404)).await;
    let text = format!("server = \"http://127.0.0.1:1\"\n[host.\"http://{}\"]\n", mirror.host());
    let hosts = Hosts::new("a.example", &text);
    let error = hosts.client().resolve(&reference("a.example/b:1"), None).await.expect_err("nobody has it");
    assert_eq!(error.kind(), Kind::NotFound);
    assert!(chain(&error).contains("127.0.0.1:1: connect"), "{}", chain(&error));
}

#[tokio::test]
async fn hosts_are_asked_only_for_what_they_can_do() {
    let mirror = answering("{}").await;
    let registry = answering("{}").await;
    let text = format!(
        "server = \"http://{}\"\ncapabilities = [\"resolve\"]\n[host.\"http://{}\"]\ncapabilities = [\"pull\"]\n",
        registry.host(),
        mirror.host()
    );
    let client = Hosts::new("a.example", &text);
    let client = client.client();
    let image = reference("a.example/b:1");
    client.resolve(&image, None).await.expect("resolves");
    assert_eq!((mirror.seen().len(), registry.seen().len()), (0, 1));
    client.manifest_by_digest(&image, Digest::of(b"{}"), None).await.expect("resolves");
    assert_eq!((mirror.seen().len(), registry.seen().len()), (1, 1));
}

#[tokio::test]
async fn nobody_who_may_be_asked_is_an_error_of_its_own() {
    let hosts = Hosts::new("a.example", "server = \"http://127.0.0.1:1\"\ncapabilities = [\"push\"]\n");
    let error = hosts.client().resolve(&reference("a.example/b:1"), None).await.expect_err("nobody may");
    assert_eq!(error.kind(), Kind::FailedPrecondition);
    assert_eq!(error.side(), Side::Local);
}

#[tokio::test]
async fn paths_of_hosts_are_kept() {
    let mirror = answering("{}").await;
    for (address, setting, target) in [
        ("/v2/proxy", "override_path = true", "/v2/proxy/b/manifests/1"),
        ("/proxy", "", "/proxy/v2/b/manifests/1"),
        ("/proxy/v2/", "", "/proxy/v2/b/manifests/1"),
        ("", "override_path = true", "/b/manifests/1"),
    ] {
        let text = format!("[host.\"http://{}{address}\"]\n{setting}\n", mirror.host());
        let hosts = Hosts::new("a.example", &text);
        hosts.client().resolve(&reference("a.example/b:1"), None).await.expect("resolves");
        assert_eq!(mirror.seen().last().expect("was asked").target, format!("{target}?ns=a.example"));
    }
}

#[tokio::test]
async fn configured_headers_are_sent_to_their_host_alone() {
    let storage = answering("{}").await;
    let location = format!("http://{}/", storage.host());
    let mirror = Scripted::start(move |_| Reply::redirect(&location)).await;
    let text = format!(
        "[host.\"http://{}\".header]\nX-One = \"1\"\nX-Two = [\"2\", \"3\"]\nAuthorization = \"{BASIC}\"\n",
        mirror.host()
    );
    let hosts = Hosts::new("a.example", &text);
    hosts.client().resolve(&reference("a.example/b:1"), None).await.expect("resolves");
    let seen = &mirror.seen()[0];
    assert_eq!((seen.header("x-one"), seen.header("authorization")), (Some("1"), Some(BASIC)));
    let seen = &storage.seen()[0];
    assert_eq!((seen.header("x-one"), seen.header("authorization")), (None, None));
}

#[tokio::test]
async fn mirrors_do_not_get_the_registrys_credentials_unless_configured() {
    let mirror = Scripted::start(wants_password).await;
    let registry = Scripted::start(wants_password).await;
    let auth = password("user", "pass");
    let image = reference("a.example/b:1");
    let text = |setting: &str| {
        format!("server = \"http://{}\"\n[host.\"http://{}\"]\n{setting}\n", registry.host(), mirror.host())
    };

    let hosts = Hosts::new("a.example", &text(""));
    hosts.client().resolve(&image, Some(&auth)).await.expect("the registry lets in");
    assert_eq!(mirror.seen().iter().filter(|seen| seen.header("authorization").is_some()).count(), 0);
    assert_eq!(registry.seen().len(), 2);

    let hosts = Hosts::new("a.example", &text("forward_credentials = true"));
    hosts.client().resolve(&image, Some(&auth)).await.expect("the mirror lets in");
    assert_eq!(registry.seen().len(), 2);

    // Credentials can also be for the mirror by name.
    let hosts = Hosts::new("a.example", &text(""));
    let auth = Auth { server_address: mirror.host(), ..auth };
    hosts.client().resolve(&image, Some(&auth)).await.expect("the mirror lets in");
    assert_eq!(registry.seen().len(), 2);
}

#[tokio::test]
async fn the_default_servers_host_is_a_mirror_and_gets_no_credentials() {
    let server = Scripted::start(wants_password).await;
    let hosts = Hosts::new("_default", &format!("server = \"http://{}\"\n", server.host()));
    let error = hosts.client().resolve(&reference("a.example/b:1"), Some(&password("user", "pass"))).await;
    assert_eq!(error.expect_err("is kept out").kind(), Kind::Unauthenticated);
    assert_eq!(server.seen().len(), 1);
    assert_eq!(server.seen()[0].header("authorization"), None);
}

#[tokio::test]
async fn a_host_has_its_own_directory_before_the_default_one() {
    let own = answering("{}").await;
    let default = answering("{}").await;
    for name in ["127.0.0.1_4_", "127.0.0.1:4"] {
        let hosts = Hosts::new("_default", &format!("server = \"http://{}\"\n", default.host()));
        let directory = hosts.directory.path().join(name);
        std::fs::create_dir(&directory).expect("makes a directory");
        std::fs::write(directory.join("hosts.toml"), format!("server = \"http://{}\"\n", own.host())).expect("writes");
        hosts.client().resolve(&reference("127.0.0.1:4/b:1"), None).await.expect("resolves");
        hosts.client().resolve(&reference("a.example/b:1"), None).await.expect("resolves");
    }
    assert_eq!((own.seen().len(), default.seen().len()), (2, 2));
}

#[tokio::test]
async fn a_malformed_file_is_an_error_that_says_where() {
    for (text, part) in [
        ("server = 5", "line 1"),
        ("server = \"\n", "line 1"),
        ("[host.\"http://x\"]\ncapabilities = [\"fly\"]", "capabilities"),
        ("[host.\"ftp://x\"]", "http"),
        ("[host.\"http://user:hunter2@x\"]", "user"),
        ("[host.\"http://x\"]\nserver = \"y\"", "server"),
        ("[host.\"http://x\"]\ndial_timeout = \"soon\"", "dial_timeout"),
        ("[host.\"http://x\".header]\n\"a b\" = \"c\"", "header"),
        ("[host.\"http://x\".header]\na = \"b\\nc\"", "header"),
        ("[host.\"http://x\"]\nclient = [[\"a\"]]", "client"),
        ("ca = 5", "array of strings"),
    ] {
        let hosts = Hosts::new("a.example", text);
        let error = hosts.client().resolve(&reference("a.example/b:1"), None).await.expect_err(text);
        assert_eq!(error.kind(), Kind::FailedPrecondition);
        let shown = chain(&error);
        assert!(shown.contains("hosts.toml") && shown.contains(part), "{shown}");
    }
}

#[tokio::test]
async fn a_missing_certificate_file_is_an_error_that_names_it() {
    let hosts = Hosts::new("a.example", "ca = \"missing.pem\"");
    let error = hosts.client().resolve(&reference("a.example/b:1"), None).await.expect_err("is not there");
    assert!(chain(&error).contains("missing.pem"), "{}", chain(&error));
}

#[tokio::test]
async fn keys_of_containerd_that_mean_nothing_here_are_ignored() {
    let mirror = answering("{}").await;
    let text = format!(
        "fallback = true\n[host.\"http://{}\"]\ncapabilities = [\"pull\", \"resolve\", \"referrers\"]\nfuture = 1\n",
        mirror.host()
    );
    Hosts::new("a.example", &text).client().resolve(&reference("a.example/b:1"), None).await.expect("resolves");
}

#[tokio::test]
async fn a_dial_timeout_ends_the_wait_for_a_connection() {
    // A listener whose backlog is full does not answer; an address that goes nowhere cannot be had offline.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = listener.local_addr().expect("is bound");
    let text = format!("[host.\"https://{address}\"]\nskip_verify = true\ndial_timeout = \"100ms\"\n");
    let registry = answering("{}").await;
    let text = format!("server = \"http://{}\"\n{text}", registry.host());
    let started = std::time::Instant::now();
    Hosts::new("a.example", &text).client().resolve(&reference("a.example/b:1"), None).await.expect("resolves");
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
}
