//! Exec over SPDY.

use super::{descriptors, runs};
use crate::support::{Daemon, Remote, Spdy, V4, eventually, exec_url};

/// Client side of a session that opens the streams `error` and `stdout`, with header blocks packed by zlib 1.2.13 at
/// level 9 (through Python) over the life of the connection.
const OPENING: &[u8] = include_bytes!("../../data/spdy/opening");

#[tokio::test]
async fn input_outputs_and_the_exit_code_have_streams_of_their_own() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let (_, id) = daemon.run_sleeper().await;
    let command = ["sh", "-c", "echo err >&2; cat; exit 7"];
    let mut exec = Remote::exec(&daemon, &id, &command, &["stdin", "stdout", "stderr"]).await;
    exec.send("stdin", b"first ").await;
    exec.hear("stdout", "first ").await;
    exec.send("stdin", b"second\n").await;
    exec.hear("stdout", "second\n").await;
    // Only the end of the input ends `cat`.
    exec.end("stdin").await;
    assert_eq!(exec.exit_code().await, 7);
    assert_eq!((exec.text("stdout"), exec.text("stderr")), ("first second\n".into(), "err\n".into()));

    let mut exec = Remote::exec(&daemon, &id, &["true"], &["stdout"]).await;
    assert_eq!(exec.exit_code().await, 0);

    let mut exec = Remote::exec(&daemon, &id, &["/no/such/program"], &["stdout", "stderr"]).await;
    exec.spdy.hear_out().await;
    let status = exec.text("error");
    assert!(status.contains(r#""status":"Failure""#) && status.contains("/no/such/program"), "{status}");
}

#[tokio::test]
async fn an_output_that_is_not_asked_for_does_not_disturb_the_command() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let (_, id) = daemon.run_sleeper().await;
    // More than a pipe holds, and a write that fails ends the script.
    let script = "set -e; head -c 1000000 /dev/zero; echo kept >&2";
    let mut exec = Remote::exec(&daemon, &id, &["sh", "-c", script], &["stderr"]).await;
    assert_eq!(exec.exit_code().await, 0);
    assert_eq!(exec.text("stderr"), "kept\n");
}

#[tokio::test]
async fn a_terminal_takes_its_size_from_the_resize_stream() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let (_, id) = daemon.run_sleeper().await;
    let script = r#"until [ "$(stty size)" = "40 100" ]; do sleep 0.05; done; echo small
        until [ "$(stty size)" = "50 120" ]; do sleep 0.05; done; read line; echo "$line" on $(tty); exit 3"#;
    let mut exec = Remote::exec(&daemon, &id, &["sh", "-c", script], &["stdin", "stdout", "resize"]).await;
    exec.send("resize", br#"{"Width":100,"Height":40}"#).await;
    exec.hear("stdout", "small\r\n").await;
    // A size that cannot be is passed over.
    exec.send("resize", br#"{"Width":0,"Height":0}{"Width":120,"Height":50}"#).await;
    exec.send("stdin", b"typed\n").await;
    assert_eq!(exec.exit_code().await, 3);
    let shown = exec.text("stdout");
    assert!(shown.contains("typed on /dev/pts/"), "{shown}");
}

#[tokio::test]
async fn frames_that_mean_nothing_here_are_passed_over_and_pings_are_answered() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let (_, id) = daemon.run_sleeper().await;
    let mut exec = Remote::exec(&daemon, &id, &["cat"], &["stdin", "stdout"]).await;
    let stdin = exec.streams["stdin"];
    let odd = exec.spdy.sink.open(&[("streamtype", "no such type")]).await;
    let sink = &mut exec.spdy.sink;
    sink.settings(1 << 20).await;
    sink.window_update(stdin, 1 << 20).await;
    sink.ping(1).await;
    sink.goaway().await;
    sink.ping(3).await;
    exec.spdy.hear("both pongs", |heard| heard.pongs == [1, 3]).await;
    assert!(exec.spdy.heard.accepted.is_superset(&exec.streams.values().copied().collect()));
    exec.send("stdin", b"still here").await;
    exec.hear("stdout", "still here").await;
    // What was opened behind the session's own streams belongs to nobody.
    exec.spdy.sink.data(odd, b"lost").await;
    exec.end("stdin").await;
    assert_eq!(exec.exit_code().await, 0);
}

#[tokio::test]
async fn headers_that_another_zlib_packed_are_understood() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let (_, id) = daemon.run_sleeper().await;
    let url = exec_url(&daemon, &id, &["echo", "understood"], &["stdout"]).await;
    let (mut spdy, _) = Spdy::connect(&url, &[V4]).await;
    spdy.sink.raw(OPENING).await;
    spdy.hear_out().await;
    assert_eq!(spdy.heard.text(3), "understood\n");
}

#[tokio::test]
async fn a_command_ends_with_its_client_and_leaves_nothing() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let (_, id) = daemon.run_sleeper().await;
    let streams = ["stdin", "stdout", "stderr"];
    Remote::exec(&daemon, &id, &["true"], &streams).await.finish().await;
    let before = descriptors(&daemon);
    for script in ["echo ready; sleep 4242", "echo ready; (setsid sleep 4242 &); cat"] {
        let mut exec = Remote::exec(&daemon, &id, &["sh", "-c", script], &streams).await;
        exec.hear("stdout", "ready").await;
        eventually("the command runs", async || runs(&daemon, &id, "sleep 4242").await).await;
        drop(exec);
        eventually("the command has ended", async || !runs(&daemon, &id, "sleep 4242").await).await;
    }
    eventually("descriptors are as before", async || descriptors(&daemon) <= before).await;
}

#[tokio::test]
async fn a_command_that_does_not_read_ends_with_its_client() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let (_, id) = daemon.run_sleeper().await;
    let before = descriptors(&daemon);
    let script = "echo ready; exec sleep 4242";
    let mut exec = Remote::exec(&daemon, &id, &["sh", "-c", script], &["stdin", "stdout"]).await;
    exec.hear("stdout", "ready\n").await;
    // A few frames more than the pipe and the daemon's queue hold: those wait in the kernel, and the end behind them.
    for _ in 0..40 {
        exec.send("stdin", &[0; 4 << 10]).await;
    }
    drop(exec);
    eventually("the command has ended", async || !runs(&daemon, &id, "sleep 4242").await).await;
    eventually("descriptors are as before", async || descriptors(&daemon) <= before).await;
}
