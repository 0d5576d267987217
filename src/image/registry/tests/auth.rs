//! Who gets to see credentials, and what they are exchanged for.

use super::{
    docker_registry::{DockerRegistry, Setup},
    scripted::{Ending, Reply, Scripted, Seen},
    *,
};
use crate::error::{Classify as _, Kind, chain};

const BASIC: &str = "Basic dXNlcjpwYXNz";

fn image(registry: &Scripted) -> Reference {
    reference(&format!("{}/team/app:1", registry.host()))
}

/// A registry that wants tokens of `server`, and takes `token`.
async fn with_tokens_of(server: &Scripted, token: &'static str) -> Scripted {
    let challenge = format!(r#"Bearer realm="http://{}/token",service="reg""#, server.host());
    Scripted::start(move |seen| match seen.header("authorization") {
        Some(header) if header == format!("Bearer {token}") => Reply::ok("{}"),
        _ => Reply::status(401).header("WWW-Authenticate", &challenge),
    })
    .await
}

fn authorizations(seen: &[Seen]) -> Vec<Option<String>> {
    seen.iter().map(|seen| seen.header("authorization").map(str::to_owned)).collect()
}

#[tokio::test]
async fn a_real_registry_takes_the_password_and_nobody_elses() {
    let users: &[_] = &[("user", "pass:word")];
    let Some(registry) = DockerRegistry::start(Setup { users, ..Setup::default() }).await else { return };
    registry.push_image("app", "v1", b"a layer").await;
    let image = reference(&format!("{}/app:v1", registry.host()));
    let client = client();
    let good = password("user", "pass:word");
    client.resolve(&image, Some(&good)).await.expect("is let in");
    assert_eq!(fetch(&client, &image, &descriptor(b"a layer"), Some(&good)).await.expect("fetches"), b"a layer");

    // Having been let in must not open the door to the next one.
    for bad in [None, Some(password("user", "wrong")), Some(Auth::default())] {
        let error = client.resolve(&image, bad.as_ref()).await.expect_err("is kept out");
        assert_eq!(error.kind(), Kind::Unauthenticated, "{}", chain(&error));
    }
}

#[tokio::test]
async fn all_ways_to_write_a_password_are_read() {
    let registry = Scripted::start(|seen| match seen.header("authorization") {
        Some(BASIC) => Reply::ok("{}"),
        _ => Reply::status(401).header("WWW-Authenticate", "Basic realm=x"),
    })
    .await;
    // Padding follows the text in either layer.
    for auth in ["dXNlcjpwYXNz", "dXNlcjpwYXNz\n", "dXNlcjpwYXNz\0", "dXNlcjpwYXNzAAA=", "dXNlcjpwYXNzCg=="] {
        let auth = Auth { auth: auth.to_owned(), ..Auth::default() };
        client().resolve(&image(&registry), Some(&auth)).await.expect("is let in");
    }
    for auth in ["?", "dXNlcg==", "/////w=="] {
        let auth = Auth { auth: auth.to_owned(), ..Auth::default() };
        let error = client().resolve(&image(&registry), Some(&auth)).await.expect_err("is malformed");
        assert_eq!(error.kind(), Kind::InvalidArgument);
        assert!(auth.auth == "?" || !chain(&error).contains(&auth.auth), "the error shows the credentials");
    }
}

#[tokio::test]
async fn an_anonymous_token_is_got_once() {
    let server = Scripted::start(|_| Reply::ok(r#"{"token":"t1","expires_in":300}"#)).await;
    let registry = with_tokens_of(&server, "t1").await;
    let client = client();
    for _ in 0..3 {
        client.resolve(&image(&registry), None).await.expect("resolves");
    }
    let asked = server.seen();
    assert_eq!(asked.len(), 1, "the token is kept");
    assert_eq!(asked[0].target, "/token?scope=repository%3Ateam%2Fapp%3Apull&service=reg");
    assert_eq!(asked[0].header("authorization"), None);
}

#[tokio::test]
async fn parallel_requests_get_one_token_together() {
    let slow = |_: &Seen| Reply::ok(r#"{"token":"t1","expires_in":300}"#).delay(Duration::from_millis(100));
    let server = Scripted::start(slow).await;
    let registry = with_tokens_of(&server, "t1").await;
    let (client, image) = (client(), image(&registry));
    let requests = (0..8).map(|_| client.resolve(&image, None));
    futures_util::future::try_join_all(requests).await.expect("resolve");
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_password_goes_to_the_token_server_and_not_to_the_registry() {
    let server = Scripted::start(|seen| match seen.header("authorization") {
        Some(BASIC) => Reply::ok(r#"{"access_token":"t1"}"#),
        _ => Reply::status(401),
    })
    .await;
    let registry = with_tokens_of(&server, "t1").await;
    client().resolve(&image(&registry), Some(&password("user", "pass"))).await.expect("resolves");
    assert_eq!(authorizations(&registry.seen()), [None, Some("Bearer t1".to_owned())]);
    assert!(server.seen()[0].target.ends_with("&account=user"), "{}", server.seen()[0].target);

    let error = client().resolve(&image(&registry), Some(&password("user", "wrong"))).await.expect_err("is wrong");
    assert_eq!(error.kind(), Kind::Unauthenticated);
    let text = chain(&error);
    assert!(text.contains("token") && text.contains(&server.host()) && !text.contains("wrong"), "{text}");
}

#[tokio::test]
async fn an_identity_token_is_posted_to_the_token_server() {
    let server = Scripted::start(|seen| match seen.method.as_str() {
        "POST" => Reply::ok(r#"{"access_token":"t1"}"#),
        _ => Reply::status(401),
    })
    .await;
    let registry = with_tokens_of(&server, "t1").await;
    // Some tools store a user name with it that means nothing.
    let auth = Auth { identity_token: "refresh&me".to_owned(), ..password("00000000", "") };
    client().resolve(&image(&registry), Some(&auth)).await.expect("resolves");
    let asked = &server.seen()[0];
    assert_eq!(asked.target, "/token");
    assert_eq!(asked.header("content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(
        asked.body,
        "grant_type=refresh_token&client_id=berth&refresh_token=refresh%26me&scope=repository%3Ateam%2Fapp%3Apull&service=reg"
    );
}

#[tokio::test]
async fn a_registry_token_is_sent_as_it_is() {
    let server = Scripted::start(|_| Reply::status(500)).await;
    let registry = with_tokens_of(&server, "t1").await;
    let auth = |token: &str| Auth { registry_token: token.to_owned(), ..Auth::default() };
    client().resolve(&image(&registry), Some(&auth("t1"))).await.expect("resolves");
    assert_eq!(authorizations(&registry.seen()), [Some("Bearer t1".to_owned())]);
    let error = client().resolve(&image(&registry), Some(&auth("other"))).await.expect_err("is wrong");
    assert_eq!(error.kind(), Kind::Unauthenticated);
    assert_eq!(server.seen().len(), 0);
}

#[tokio::test]
async fn an_outdated_token_is_replaced_in_the_middle_of_a_pull() {
    let server = Scripted::start(|seen| Reply::ok(format!(r#"{{"token":"t{}","expires_in":300}}"#, seen.number))).await;
    let challenge = format!(r#"Bearer realm="http://{}/token""#, server.host());
    let registry = Scripted::start(move |seen| match (seen.number, seen.header("authorization")) {
        (..3, Some("Bearer t0")) | (3.., Some("Bearer t1")) => Reply::ok("{}"),
        _ => Reply::status(401).header("WWW-Authenticate", &challenge),
    })
    .await;
    let client = client();
    for _ in 0..3 {
        client.resolve(&image(&registry), None).await.expect("resolves");
    }
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn a_token_server_that_lies_is_not_asked_for_ever() {
    let html = Reply::ok("<html>");
    let nothing = Reply::ok("{}");
    let empty = Reply::ok(r#"{"token":""}"#);
    let unusable = Reply::ok("{\"token\":\"a\\nb\"}");
    let useless = Reply::ok(r#"{"token":"other","expires_in":-1}"#);
    let endless = Reply::ok("").length(None).ending(Ending::Endless);
    let elsewhere = Reply::redirect("http://127.0.0.1:1/");
    for reply in [html, nothing, empty, unusable, useless, endless, elsewhere] {
        let shown = format!("{reply:?}");
        let server = Scripted::start(move |_| reply.clone()).await;
        let registry = with_tokens_of(&server, "t1").await;
        client().resolve(&image(&registry), None).await.expect_err(&shown);
        assert!(server.seen().len() <= 2, "{shown}");
        assert!(registry.seen().len() <= 3, "{shown}");
    }
}

#[tokio::test]
async fn a_token_server_in_trouble_is_asked_again() {
    let server = Scripted::start(|seen| match seen.number {
        0 => Reply::status(503),
        _ => Reply::ok(r#"{"token":"t1"}"#),
    })
    .await;
    let registry = with_tokens_of(&server, "t1").await;
    client().resolve(&image(&registry), None).await.expect("resolves");
}

#[tokio::test]
async fn unusable_challenges_are_said() {
    for challenge in ["", "Negotiate", "Bearer service=x", "Bearer realm=\"/token\"", "Bearer realm=\"ftp://x/\""] {
        let registry = Scripted::start(move |_| Reply::status(401).header("WWW-Authenticate", challenge)).await;
        let error = client().resolve(&image(&registry), Some(&password("user", "pass"))).await.expect_err(challenge);
        assert_eq!(error.side(), Side::Registry, "{challenge}");
        assert_eq!(authorizations(&registry.seen()), [None], "{challenge}");
    }
}

#[tokio::test]
async fn credentials_do_not_follow_a_redirect_to_another_host() {
    let content = content(1000);
    let served = content.clone();
    let storage = Scripted::start(move |seen| Reply::blob(seen, &served)).await;
    let target = format!("http://{}/blob?signature=secret", storage.host());
    let registry = Scripted::start(move |seen| match seen.header("authorization") {
        Some(BASIC) => Reply::redirect(&target),
        _ => Reply::status(401).header("WWW-Authenticate", "Basic realm=x"),
    })
    .await;
    let auth = password("user", "pass");
    let fetched = fetch(&client(), &image(&registry), &descriptor(&content), Some(&auth)).await.expect("fetches");
    assert_eq!(fetched, content);
    assert_eq!(authorizations(&storage.seen()), [None]);
    assert_eq!(storage.seen()[0].target, "/blob?signature=secret");
}

#[tokio::test]
async fn a_redirect_to_another_host_that_asks_for_credentials_gets_none() {
    let storage = Scripted::start(|_| Reply::status(401).header("WWW-Authenticate", "Basic realm=x")).await;
    let target = format!("http://{}/", storage.host());
    let registry = Scripted::start(move |_| Reply::redirect(&target)).await;
    let auth = password("user", "pass");
    let error = fetch(&client(), &image(&registry), &descriptor(b"x"), Some(&auth)).await.expect_err("is kept out");
    assert_eq!(error.kind(), Kind::Unauthenticated);
    assert_eq!(authorizations(&storage.seen()), [None]);
    assert_eq!(authorizations(&registry.seen()), [None]);
}

#[tokio::test]
async fn credentials_do_not_come_back_with_a_redirect_from_another_host() {
    let there_and_back = Scripted::start(|seen| {
        let host = seen.target.trim_start_matches('/');
        Reply::redirect(&format!("http://{host}/v2/team/app/blobs/back"))
    })
    .await;
    let away = there_and_back.host();
    let registry = Scripted::start(move |seen| {
        if seen.target.ends_with("back") {
            return Reply::ok("x");
        }
        match seen.header("authorization") {
            Some(BASIC) => Reply::redirect(&format!("http://{away}/{}", seen.header("host").unwrap_or_default())),
            _ => Reply::status(401).header("WWW-Authenticate", "Basic realm=x"),
        }
    })
    .await;
    let auth = password("user", "pass");
    assert_eq!(fetch(&client(), &image(&registry), &descriptor(b"x"), Some(&auth)).await.expect("fetches"), b"x");
    assert_eq!(authorizations(&registry.seen()), [None, Some(BASIC.to_owned()), None]);
}

#[tokio::test]
async fn credentials_stay_with_a_redirect_on_the_same_host() {
    let registry = Scripted::start(|seen| match seen.header("authorization") {
        Some(BASIC) if seen.target == "/elsewhere" => Reply::ok("x"),
        Some(BASIC) => Reply::redirect("/elsewhere"),
        _ => Reply::status(401).header("WWW-Authenticate", "Basic realm=x"),
    })
    .await;
    let auth = password("user", "pass");
    assert_eq!(fetch(&client(), &image(&registry), &descriptor(b"x"), Some(&auth)).await.expect("fetches"), b"x");
}

#[tokio::test]
async fn redirects_end() {
    let registry = Scripted::start(|_| Reply::redirect("/again")).await;
    let error = client().resolve(&image(&registry), None).await.expect_err("goes in circles");
    assert_eq!(error.side(), Side::Registry);
    assert_eq!(registry.seen().len(), 11);
    for location in ["ftp://x/", "file:///etc/passwd", "http://", "\u{1}"] {
        let registry = Scripted::start(move |_| Reply::redirect(location)).await;
        client().resolve(&image(&registry), None).await.expect_err(location);
        assert_eq!(registry.seen().len(), 1, "{location}");
    }
}

#[tokio::test]
async fn credentials_are_for_the_host_they_name() {
    let registry = Scripted::start(|seen| match seen.header("authorization") {
        Some(BASIC) => Reply::ok("{}"),
        _ => Reply::status(401).header("WWW-Authenticate", "Basic realm=x"),
    })
    .await;
    let host = registry.host();
    let to = |server_address: &str| Auth { server_address: server_address.to_owned(), ..password("user", "pass") };
    for address in [String::new(), host.clone(), format!("http://{host}"), format!("https://{host}/v1/")] {
        client().resolve(&image(&registry), Some(&to(&address))).await.expect(&address);
    }
    for address in ["127.0.0.1", "other.example", "https://docker.io", "http://127.0.0.1:1/v2/"] {
        let before = registry.seen().len();
        client().resolve(&image(&registry), Some(&to(address))).await.expect_err(address);
        assert_eq!(authorizations(&registry.seen()[before..]), [None], "{address}");
    }
}

#[tokio::test]
async fn nothing_shows_credentials() {
    let registry = Scripted::start(|_| Reply::status(401).header("WWW-Authenticate", "Basic realm=x")).await;
    let auth = Auth {
        username: "user".to_owned(),
        password: "hunter2".to_owned(),
        auth: "aHVudGVyMg==".to_owned(),
        identity_token: "hunter2".to_owned(),
        registry_token: String::new(),
        server_address: String::new(),
    };
    assert!(!format!("{auth:?}").contains("hunter2") && !format!("{auth:?}").contains("aHVudGVyMg"));
    let client = client();
    let error = client.resolve(&image(&registry), Some(&auth)).await.expect_err("is kept out");
    let shown = format!("{error:?} {} {client:?}", chain(&error));
    assert!(!shown.contains("hunter2") && !shown.contains("dXNlcjpodW50ZXIy"), "{shown}");
}
