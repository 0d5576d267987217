//! Long use leaves the daemon as it was: many pods come and go, one container is probed again and again.
//!
//! `BERTH_ENDURANCE_PODS` and `BERTH_ENDURANCE_PROBES` say how many; `hack/endurance` sets them to weeks of a node. Few
//! are enough to see a leak that is a file, a mount or a process.

use std::{
    io::Write as _,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use futures_util::future::join_all;

use crate::support::{
    Daemon, container,
    footprint::{self, Footprint, KEPT_MEMORY},
    patience, pod, setting,
};

/// Pods that are made before the first look: pools, caches and the allocator have their usual size then.
const WARM_UP: u64 = 40;
/// Calls that are under way at the same time.
const LANES: u64 = 4;

#[tokio::test]
async fn many_pods_leave_the_daemon_as_it_was() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let pods = setting("BERTH_ENDURANCE_PODS", 60);
    compare("pods", &daemon, WARM_UP, pods, async |lane, _number| {
        let config = pod(&daemon, &format!("p{lane}"));
        let pod = daemon.run_pod(&config).await;
        let id = daemon.run(&pod, &container("c", &["sleep", "1000"]), &config).await;
        daemon.exec(&id, &["true"]).await;
        daemon.stop(&id, 0).await;
        daemon.remove_pod(&pod).await;
    })
    .await;
}

#[tokio::test]
async fn many_probes_leave_the_daemon_and_the_monitor_as_they_were() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let config = pod(&daemon, "probed");
    let pod = daemon.run_pod(&config).await;
    let id = daemon.run(&pod, &container("c", &["sleep", "100000"]), &config).await;
    let monitor = daemon.monitor_pid(&id).await;
    let of_monitor = || (footprint::memory(monitor), footprint::descriptors(monitor));
    let probe = async |_lane: u64, number: u64| {
        let command = if number.is_multiple_of(2) { ["echo", "well"] } else { ["cat", "/no/such/file"] };
        let answer = daemon.try_exec(&id, &command, 60).await.expect("probe");
        assert_eq!(answer.exit_code == 0, number.is_multiple_of(2), "{answer:?}");
    };
    let probes = setting("BERTH_ENDURANCE_PROBES", 200);
    repeat(WARM_UP, &probe).await;
    let (memory_before, descriptors_before) = of_monitor();
    compare("probes", &daemon, WARM_UP, probes, probe).await;
    let (memory, descriptors) = of_monitor();
    say(&format!("the monitor's memory, KiB: {memory_before}, then {memory}"));
    assert!(memory <= memory_before + 1024, "the monitor has grown from {memory_before} to {memory} KiB");
    assert_eq!(descriptors, descriptors_before, "descriptors of the monitor");
    assert_eq!(daemon.monitor_pid(&id).await, monitor);
}

/// Does something so many times, and fails if the daemon takes more of the host afterwards than it did before.
async fn compare(what: &str, daemon: &Daemon, warm_up: u64, count: u64, act: impl AsyncFn(u64, u64)) {
    repeat(warm_up, &act).await;
    let before = settled(daemon, None).await;
    say(&format!("before {count} {what}: {before}"));
    let started = Instant::now();
    repeat(count, &act).await;
    let seconds = started.elapsed().as_secs_f64();
    let after = settled(daemon, Some(&before)).await;
    say(&format!("after {count} {what} in {seconds:.0} s: {after}"));
    let excess = after.excess(&before, KEPT_MEMORY);
    assert!(excess.is_empty(), "{excess:?} have grown with {count} {what}:\nbefore {before}\nafter  {after}");
}

/// In a few lanes, each of which goes on with what is next.
async fn repeat(count: u64, act: &impl AsyncFn(u64, u64)) {
    let next = AtomicU64::new(0);
    let lane = async |lane| {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return;
            }
            act(lane, number).await;
        }
    };
    join_all((0..LANES).map(lane)).await;
}

/// The footprint once nothing of it goes away any more: much is given back in the background.
async fn settled(daemon: &Daemon, before: Option<&Footprint>) -> Footprint {
    let started = Instant::now();
    let mut last = Footprint::of(daemon);
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = Footprint::of(daemon);
        let is_settled = match before {
            Some(before) => now.excess(before, KEPT_MEMORY).is_empty(),
            None => last.excess(&now, KEPT_MEMORY).is_empty(),
        };
        if is_settled || started.elapsed() > patience(30) {
            return now;
        }
        last = now;
    }
}

/// Not through the harness, which swallows it: `hack/endurance` shows it.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "endurance: {line}");
}
