//! What the tests stand on: a daemon, a registry, images, and the check that nothing is left.

#[macro_use]
mod requirement;

mod archive;
mod daemon;
mod faulty_registry;
pub(crate) mod footprint;
pub(crate) mod forward;
mod leftovers;
mod plugins;
mod power;
mod registry;
mod remote;
mod request;
mod shortage;
mod silent_file_system;
mod small_disk;
mod spdy;
pub(crate) mod web_socket;

use std::{
    fs::File,
    path::Path,
    time::{Duration, Instant},
};

use nix::sched::{CloneFlags, setns};

pub(crate) use archive::{Archive, Compression, Layer, digest};
pub(crate) use daemon::{Daemon, log_text};
pub(crate) use faulty_registry::{Fault, FaultyRegistry};
pub(crate) use plugins::Plugins;
pub(crate) use power::cut_power;
pub(crate) use registry::Registry;
pub(crate) use remote::{Remote, V4, attach_url, code_in, exec_url, forward_url};
pub(crate) use request::{BUSYBOX, container, pod, security, shell};
pub(crate) use requirement::{Requirement, check};
pub(crate) use shortage::Shortage;
pub(crate) use silent_file_system::{Hang, SilentFileSystem};
pub(crate) use small_disk::{SmallDisk, own_mounts};
pub(crate) use spdy::{Answer, Frame, Spdy, request, upgrade};

/// A deadline, made longer on slow machines.
pub(crate) fn patience(seconds: u64) -> Duration {
    let factor = std::env::var("BERTH_TEST_PATIENCE").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    Duration::from_secs(seconds * factor)
}

/// A number from the environment.
pub(crate) fn setting(name: &str, default: u64) -> u64 {
    let Ok(text) = std::env::var(name) else { return default };
    text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error}"))
}

/// Waits until something is so, or panics with `what` after a while.
pub(crate) async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !is_so().await {
        assert!(started.elapsed() < patience(30), "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Does something in the network namespace that is pinned at a path.
pub(crate) fn in_network<T: Send>(path: &Path, act: impl FnOnce() -> T + Send) -> T {
    let network = File::open(path).expect("open the network namespace");
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            setns(network, CloneFlags::CLONE_NEWNET).expect("enter the network namespace");
            act()
        });
        thread.join().expect("the thread")
    })
}

/// The refusal's code and sentence, which must be there.
#[track_caller]
pub(crate) fn refusal<T: std::fmt::Debug>(answer: Result<tonic::Response<T>, tonic::Status>) -> (tonic::Code, String) {
    let status = answer.expect_err("the engine took it");
    assert!(!status.message().is_empty(), "a refusal without a sentence: {status:?}");
    (status.code(), status.message().to_owned())
}
