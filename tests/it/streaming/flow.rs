//! How fast and slow ends of a session are kept apart, and at what cost.

use std::{fs, path::Path, time::Duration};

use super::runs;
use crate::support::{Daemon, Frame, Remote, eventually, patience};

/// Bytes sent through one stream and back.
const TRANSFER: usize = 256 << 20;
/// Bytes of a frame, as many as Kubernetes' clients send at once.
const CHUNK: usize = 32 << 10;
/// More than all queues and buffers of the kernel and the daemon hold between a process and its client.
const BUFFERS: usize = 32 << 20;
/// What a transfer may add to the daemon's memory: the queues of both directions, and what an allocator keeps.
const GROWTH: usize = 12 << 20;

/// A number of a process from a file below `/proc`.
fn figure(pid: i32, file: &str, name: &str) -> usize {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).expect("the process");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("the figure");
    line.trim_start_matches(':').trim_end_matches("kB").trim().parse().expect("a number")
}

/// Forgets the daemon's highest memory use so far; returns what it uses now, bytes.
fn measure_from_now(daemon: &Daemon) -> usize {
    fs::write(format!("/proc/{}/clear_refs", daemon.pid()), "5").expect("forget the peak");
    figure(daemon.pid(), "status", "VmRSS") << 10
}

fn peak(daemon: &Daemon) -> usize {
    figure(daemon.pid(), "status", "VmHWM") << 10
}

#[tokio::test]
async fn a_large_transfer_goes_both_ways_at_once_and_takes_no_memory() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let (_, id) = daemon.run_sleeper().await;
    let mut exec = Remote::exec(&daemon, &id, &["cat"], &["stdin", "stdout"]).await;
    exec.send("stdin", b"first").await;
    exec.hear("stdout", "first").await;
    let before = measure_from_now(&daemon);

    // A period that is no divisor of a frame's length: nothing lost, doubled or out of order can look right.
    let pattern: Vec<u8> = (0..251u8).cycle().take(251 + (1 << 20)).collect();
    let at = |position: usize, length: usize| &pattern[position % 251..][..length];
    let (stdin, stdout) = (exec.streams["stdin"], exec.streams["stdout"]);
    let (sink, source) = (&mut exec.spdy.sink, &mut exec.spdy.source);
    let send = async {
        for position in (0..TRANSFER).step_by(CHUNK) {
            sink.data(stdin, at(position, CHUNK)).await;
        }
        sink.end(stdin).await;
    };
    let receive = async {
        let mut received = 0;
        while let Some(Frame::Data { stream, fin: false, data }) = source.next().await {
            assert_eq!(stream, stdout);
            assert!(data == at(received, data.len()), "other bytes after {received}");
            received += data.len();
        }
        assert_eq!(received, TRANSFER);
    };
    let both = async { tokio::join!(send, receive) };
    tokio::time::timeout(patience(300), both).await.expect("the transfer does not end");
    let grown = peak(&daemon).saturating_sub(before);
    assert!(grown < GROWTH, "the daemon has grown by {grown} bytes");
}

#[tokio::test]
async fn a_client_that_does_not_read_stops_its_command_and_nothing_else() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let (_, id) = daemon.run_sleeper().await;
    let before = measure_from_now(&daemon);
    let mut exec = Remote::exec(&daemon, &id, &["yes"], &["stdout"]).await;
    eventually("the command runs", async || runs(&daemon, &id, "yes").await).await;
    let pid = process(daemon.container_pid(&id).await, b"yes\0");
    let written = || figure(pid, "io", "wchar");
    let stands_still = async || {
        let once = written();
        tokio::time::sleep(Duration::from_millis(500)).await;
        written() == once
    };
    eventually("the command waits", stands_still).await;
    let stopped = written();
    assert!((CHUNK..BUFFERS).contains(&stopped), "it has written {stopped} bytes");
    let grown = peak(&daemon).saturating_sub(before);
    assert!(grown < GROWTH, "the daemon has grown by {grown} bytes");

    let mut other = Remote::exec(&daemon, &id, &["echo", "goes on"], &["stdout"]).await;
    assert_eq!((other.exit_code().await, other.text("stdout").as_str()), (0, "goes on\n"));
    assert_eq!(written(), stopped);

    exec.hear("stdout", &"y\n".repeat(CHUNK)).await;
    let mut received = 0;
    while received < 2 * stopped {
        let frame = exec.spdy.source.next().await;
        let Some(Frame::Data { data, .. }) = frame else { panic!("{frame:?} after {received}") };
        received += data.len();
    }
    assert!(written() > stopped, "the command goes on");
    drop(exec);
    eventually("the command has ended", async || !Path::new(&format!("/proc/{pid}")).exists()).await;
}

/// The process with this command line that shares its process ids with another one.
fn process(other: i32, command: &[u8]) -> i32 {
    let namespace = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let entries = fs::read_dir("/proc").expect("all processes").filter_map(Result::ok);
    let mut pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_it = |pid: i32| {
        namespace(pid) == namespace(other) && fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line == command)
    };
    pids.find(|&pid| is_it(pid)).expect("the process")
}
