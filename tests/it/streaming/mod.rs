//! The streaming server as kubelet and other clients speak to it, over real connections.

mod attach;
mod exec;
mod flow;
mod negotiation;
mod port_forward;
mod websocket;

use std::fs;

use crate::support::Daemon;

/// How many descriptors the daemon holds.
fn descriptors(daemon: &Daemon) -> usize {
    fs::read_dir(format!("/proc/{}/fd", daemon.pid())).expect("the daemon's descriptors").count()
}

/// Whether a container has a process with this command line.
async fn runs(daemon: &Daemon, container: &str, command: &str) -> bool {
    daemon.exec(container, &["ps", "-o", "args"]).await.lines().any(|line| line == command)
}
