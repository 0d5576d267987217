//! URLs of the streaming server, and a client of exec and attach over SPDY.

use std::collections::HashMap;

use berth::wire::{AttachRequest, ExecRequest, PortForwardRequest};

use super::{Daemon, Spdy};

/// The protocol of remotecommand that kubelet speaks.
pub(crate) const V4: &str = "v4.channel.k8s.io";

/// A URL at which a command waits to be run with these streams: `stdin`, `stdout`, `stderr`, and a terminal when
/// there is `resize`.
pub(crate) async fn exec_url(daemon: &Daemon, container: &str, command: &[&str], streams: &[&str]) -> String {
    let request = ExecRequest {
        container_id: container.to_owned(),
        cmd: command.iter().map(|&word| word.to_owned()).collect(),
        tty: streams.contains(&"resize"),
        stdin: streams.contains(&"stdin"),
        stdout: streams.contains(&"stdout"),
        stderr: streams.contains(&"stderr"),
    };
    daemon.runtime().exec(request).await.expect("ask for an exec").into_inner().url
}

/// A URL at which a container waits to be attached to.
pub(crate) async fn attach_url(daemon: &Daemon, container: &str, streams: &[&str]) -> String {
    let request = AttachRequest {
        container_id: container.to_owned(),
        tty: streams.contains(&"resize"),
        stdin: streams.contains(&"stdin"),
        stdout: streams.contains(&"stdout"),
        stderr: streams.contains(&"stderr"),
    };
    daemon.runtime().attach(request).await.expect("ask for an attachment").into_inner().url
}

/// A URL at which all ports of a pod wait.
pub(crate) async fn forward_url(daemon: &Daemon, pod: &str) -> String {
    let request = PortForwardRequest { pod_sandbox_id: pod.to_owned(), port: vec![] };
    daemon.runtime().port_forward(request).await.expect("ask for forwarded ports").into_inner().url
}

/// An exec or an attachment over SPDY.
pub(crate) struct Remote {
    pub(crate) spdy: Spdy,
    /// Numbers of the streams by type.
    pub(crate) streams: HashMap<String, u32>,
}

impl Remote {
    /// Connects and opens these streams and that of errors.
    pub(crate) async fn open(url: &str, protocol: &str, streams: &[&str]) -> Self {
        let (mut spdy, granted) = Spdy::connect(url, &[protocol]).await;
        assert_eq!(granted, protocol);
        let mut numbers = HashMap::new();
        for &kind in ["error"].iter().chain(streams) {
            numbers.insert(kind.to_owned(), spdy.sink.open(&[("streamtype", kind)]).await);
        }
        Self { spdy, streams: numbers }
    }

    /// Runs a command.
    pub(crate) async fn exec(daemon: &Daemon, container: &str, command: &[&str], streams: &[&str]) -> Self {
        Self::open(&exec_url(daemon, container, command, streams).await, V4, streams).await
    }

    /// Attaches to a container.
    pub(crate) async fn attach(daemon: &Daemon, container: &str, streams: &[&str]) -> Self {
        Self::open(&attach_url(daemon, container, streams).await, V4, streams).await
    }

    pub(crate) async fn send(&mut self, kind: &str, data: &[u8]) {
        self.spdy.sink.data(self.streams[kind], data).await;
    }

    pub(crate) async fn end(&mut self, kind: &str) {
        self.spdy.sink.end(self.streams[kind]).await;
    }

    /// Listens until a stream has brought this.
    pub(crate) async fn hear(&mut self, kind: &str, text: &str) {
        let stream = self.streams[kind];
        self.spdy.hear(text, |heard| heard.text(stream).contains(text)).await;
    }

    pub(crate) fn text(&self, kind: &str) -> String {
        self.spdy.heard.text(self.streams[kind])
    }

    /// Listens to the end, which must come in order on all streams; returns what the error stream said.
    pub(crate) async fn finish(&mut self) -> String {
        self.spdy.hear_out().await;
        let heard = &self.spdy.heard;
        for (kind, stream) in &self.streams {
            let is_output = ["error", "stdout", "stderr"].contains(&kind.as_str());
            assert_eq!(heard.ended.contains(stream), is_output, "{kind}: {heard:?}");
        }
        self.text("error")
    }

    /// Listens to the end; returns the exit code that the error stream's `Status` tells.
    pub(crate) async fn exit_code(&mut self) -> i32 {
        code_in(&self.finish().await)
    }
}

/// The exit code that a `Status` of Kubernetes tells.
pub(crate) fn code_in(status: &str) -> i32 {
    let status: serde_json::Value = serde_json::from_str(status).unwrap_or_else(|_| panic!("no Status: {status}"));
    if status["status"] == "Success" {
        return 0;
    }
    assert_eq!((&status["status"], &status["reason"]), (&"Failure".into(), &"NonZeroExitCode".into()), "{status}");
    let causes = status["details"]["causes"].as_array().expect("causes");
    let cause = causes.iter().find(|cause| cause["reason"] == "ExitCode").expect("the exit code");
    cause["message"].as_str().and_then(|code| code.parse().ok()).expect("a number")
}
