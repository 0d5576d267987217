//! Exec over WebSocket: channels named by the first byte of each message.

use crate::support::{
    Daemon, code_in,
    web_socket::{CLOSE, Client, RESIZE, STDERR, STDIN, STDOUT},
};

#[tokio::test]
async fn each_protocol_has_its_channels_and_its_way_to_tell_the_end() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let (_, id) = daemon.run_sleeper().await;
    let command = ["sh", "-c", "read word; echo got $word; echo err >&2; exit 5"];
    for protocol in ["v5.channel.k8s.io", "v4.channel.k8s.io", "v4.base64.channel.k8s.io"] {
        let mut client = Client::exec(&daemon, &id, protocol, &command, &["stdin", "stdout", "stderr"]).await;
        client.send(STDIN, b"wo").await;
        client.send(STDIN, b"rd\n").await;
        let status = client.finish().await;
        assert_eq!(code_in(&status), 5, "{protocol}");
        assert_eq!((client.text(STDOUT), client.text(STDERR)), ("got word\n".into(), "err\n".into()), "{protocol}");
        let mut client = Client::exec(&daemon, &id, protocol, &["true"], &["stdout"]).await;
        assert_eq!(code_in(&client.finish().await), 0, "{protocol}");
    }
    for protocol in ["channel.k8s.io", "base64.channel.k8s.io"] {
        let mut client = Client::exec(&daemon, &id, protocol, &command, &["stdin", "stdout", "stderr"]).await;
        client.send(STDIN, b"word\n").await;
        assert_eq!(client.finish().await, "command terminated with exit code 5", "{protocol}");
        assert_eq!(client.text(STDOUT), "got word\n", "{protocol}");
    }
}

#[tokio::test]
async fn version_5_ends_input_and_keeps_the_outputs() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let (_, id) = daemon.run_sleeper().await;
    let command = ["sh", "-c", "cat; echo over"];
    let mut client = Client::exec(&daemon, &id, "v5.channel.k8s.io", &command, &["stdin", "stdout"]).await;
    client.send(STDIN, b"in\n").await;
    client.hear(STDOUT, "in\n").await;
    client.send(CLOSE, &[STDIN]).await;
    assert_eq!(code_in(&client.finish().await), 0);
    assert_eq!(client.text(STDOUT), "in\nover\n");
}

#[tokio::test]
async fn a_terminal_takes_its_size_from_a_channel() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let (_, id) = daemon.run_sleeper().await;
    let script = r#"until [ "$(stty size)" = "40 100" ]; do sleep 0.05; done; exit 3"#;
    for protocol in ["v4.channel.k8s.io", "v4.base64.channel.k8s.io"] {
        let command = ["sh", "-c", script];
        let mut client = Client::exec(&daemon, &id, protocol, &command, &["stdout", "resize"]).await;
        client.send(RESIZE, br#"{"Width":100,"Height":40}"#).await;
        assert_eq!(code_in(&client.finish().await), 3, "{protocol}");
    }
}
