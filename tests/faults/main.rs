//! The daemon is killed between any two steps in the life of a pod and its image, and starts again: what was answered
//! still holds, what was not can be asked for again, and nothing is left in the end.
//!
//! The steps are the fault points of `src/fault.rs`. A first life in which nothing happens tells which there are and how
//! often each is passed; then a life is lived for each of those moments. Needs the feature `fault-points`.

#![expect(clippy::print_stdout, reason = "the lives are shown when one fails")]

#[path = "../it/support/mod.rs"]
#[macro_use]
#[expect(dead_code, unused_imports, reason = "other tests need more of it")]
mod support;

mod life;
mod promises;
#[path = "../chaos/transfer.rs"]
mod transfer;
mod upgrade;

use std::collections::BTreeMap;

use crate::{
    life::{live, live_for_a_pod},
    support::{Archive, Daemon, Plugins, Registry, eventually},
};

/// How many times of one point are walked: later ones are of the same kind.
const TIMES: u32 = 6;

/// How few points there may be before somebody has broken the test: the feature is off, or the life too short.
const FEWEST: usize = 45;

/// Where the daemon works with plugins.
const PLUGIN_POINTS: &str = "cni.";
/// How few of these there may be.
const FEWEST_PLUGIN_POINTS: usize = 4;

#[tokio::test]
async fn a_daemon_killed_between_any_two_steps_keeps_its_word() {
    requires!(Root, DockerRegistry);
    let points = points(whole_life).await;
    assert!(points.len() >= FEWEST, "only {points:#?}");
    walk(points, whole_life).await;
}

#[tokio::test]
async fn a_daemon_killed_while_plugins_work_has_all_given_back() {
    requires!(Root, CniPlugins);
    let mut points = points(life_with_plugins).await;
    points.retain(|point, _| point.starts_with(PLUGIN_POINTS));
    assert!(points.len() >= FEWEST_PLUGIN_POINTS, "only {points:#?}");
    walk(points, life_with_plugins).await;
}

/// Lives a life for each moment at which a point is passed.
async fn walk(points: BTreeMap<String, u32>, life: impl AsyncFn(&'static str, &str) -> u32) {
    for (point, count) in points {
        for time in 1..=count.min(TIMES) {
            let fault = format!("{point}:{time}");
            // Shown when the test fails: which life it was.
            println!("killed at {fault}");
            let deaths = life("BERTH_FAULT", &fault).await;
            // Group commits and threads make the last times of a point vary from life to life.
            assert!(deaths == 1 || time > 1, "{fault}: died {deaths} times");
        }
    }
}

/// The fault points that a life passes, and how often.
async fn points(life: impl AsyncFn(&'static str, &str) -> u32) -> BTreeMap<String, u32> {
    let log = tempfile::NamedTempFile::new().expect("make a file");
    let deaths = life("BERTH_FAULT_LOG", &log.path().display().to_string()).await;
    assert_eq!(deaths, 0, "the daemon died without a fault");
    let mut points = BTreeMap::new();
    for line in std::fs::read_to_string(log.path()).expect("read the file").lines() {
        *points.entry(line.to_owned()).or_default() += 1;
    }
    points
}

/// Lets a daemon with this in its environment live, on a host and beside a registry of its own; says how often it died.
async fn whole_life(variable: &'static str, value: &str) -> u32 {
    let mut daemon = Daemon::start().await;
    let registry = Registry::start().await;
    let image = registry.push(&Archive::busybox(), "busybox", "latest").await;
    let died = start_again(&mut daemon, variable, value).await;
    live(&mut daemon, &image).await + u32::from(died)
}

/// The same for one whose pod gets its network from plugins, which must not keep anything for it.
async fn life_with_plugins(variable: &'static str, value: &str) -> u32 {
    let (plugins, mut daemon) = Plugins::start_with(&[]).await;
    let died = start_again(&mut daemon, variable, value).await;
    let deaths = live_for_a_pod(&mut daemon).await + u32::from(died);
    eventually("no address is taken", async || plugins.leases().is_empty()).await;
    plugins.forget();
    deaths
}

/// Starts the daemon anew with this in its environment; `true` when it died at once and was started again.
async fn start_again(daemon: &mut Daemon, variable: &'static str, value: &str) -> bool {
    daemon.terminate().await;
    let survived = daemon.try_start_again(&[(variable, value.to_owned())]).await;
    if !survived {
        daemon.start_again().await;
    }
    !survived
}
