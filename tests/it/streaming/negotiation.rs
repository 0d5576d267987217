//! What is agreed before any byte of a session flows.

use crate::support::{Answer, Daemon, Remote, Spdy, V4, attach_url, exec_url, forward_url, request, upgrade};

const ALL: [&str; 4] = [V4, "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"];

#[tokio::test]
async fn the_best_protocol_of_remotecommand_is_granted() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let (_, id) = daemon.run_sleeper().await;
    let granted = async |offered: &[&str]| {
        let url = exec_url(&daemon, &id, &["true"], &["stdout"]).await;
        Spdy::connect(&url, offered).await.1
    };
    assert_eq!(granted(&ALL).await, V4);
    assert_eq!(granted(&ALL[1..]).await, "v3.channel.k8s.io");
    assert_eq!(granted(&["v9.channel.k8s.io, v2.channel.k8s.io", "channel.k8s.io"]).await, "v2.channel.k8s.io");
    assert_eq!(granted(&["channel.k8s.io"]).await, "channel.k8s.io");
    assert_eq!(granted(&[]).await, "channel.k8s.io", "clients that know of no versions");
}

#[tokio::test]
async fn older_protocols_tell_the_end_as_text_and_the_oldest_know_no_sizes() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let (_, id) = daemon.run_sleeper().await;
    for protocol in &ALL[1..] {
        let end = async |command: &str| {
            let url = exec_url(&daemon, &id, &["sh", "-c", command], &["stdout", "stderr"]).await;
            Remote::open(&url, protocol, &["stdout", "stderr"]).await.finish().await
        };
        assert_eq!(end("exit 0").await, "", "{protocol}");
        assert_eq!(end("exit 5").await, "command terminated with exit code 5", "{protocol}");
    }
    let url = async || exec_url(&daemon, &id, &["tty"], &["stdout", "resize"]).await;
    for (protocol, streams) in [(ALL[1], &["stdout", "resize"][..]), (ALL[2], &["stdout"]), (ALL[3], &["stdout"])] {
        let mut exec = Remote::open(&url().await, protocol, streams).await;
        assert_eq!(exec.finish().await, "", "{protocol}");
        assert!(exec.text("stdout").starts_with("/dev/pts/"), "{protocol}");
    }
}

#[tokio::test]
async fn what_cannot_be_agreed_on_is_refused() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let (pod, id) = daemon.run_sleeper().await;
    let exec = async || exec_url(&daemon, &id, &["true"], &["stdout"]).await;
    let accepted = |answer: Answer| {
        assert_eq!(answer.status, 403, "{answer:?}");
        answer.header("X-Accepted-Stream-Protocol-Versions").join(" ")
    };
    assert_eq!(accepted(upgrade(&exec().await, &["v9.channel.k8s.io"]).await), ALL.join(" "));
    let forward = forward_url(&daemon, &pod).await;
    assert_eq!(accepted(upgrade(&forward, &[V4]).await), "portforward.k8s.io");
    assert_eq!(request(&exec().await, &[]).await.status, 400);
    assert_eq!(request(&exec().await, &[("Connection", "Upgrade"), ("Upgrade", "SPDY/2")]).await.status, 400);
}

#[tokio::test]
async fn a_token_opens_one_session() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let (pod, id) = daemon.run_sleeper().await;
    let urls = [
        exec_url(&daemon, &id, &["true"], &["stdout"]).await,
        attach_url(&daemon, &id, &["stdout"]).await,
        forward_url(&daemon, &pod).await,
    ];
    for url in urls {
        let protocol = if url.contains("portforward") { "portforward.k8s.io" } else { V4 };
        let (base, token) = url.rsplit_once('/').expect("a token");
        let others: String = token.chars().map(|letter| if letter == 'A' { 'B' } else { 'A' }).collect();
        assert_eq!(upgrade(&format!("{base}/{others}"), &[protocol]).await.status, 404);
        assert_eq!(upgrade(&url, &[protocol]).await.status, 101);
        assert_eq!(upgrade(&url, &[protocol]).await.status, 404, "a second time");
    }
}
