//! The daemon is killed between any two steps in the life of a pod and its image, and starts again: what was answered
//! still holds, what was not can be asked for again, and nothing is left in the end.
//!
//! The steps are the fault points of `src/fault.rs`. A first life in which nothing happens tells which there are and how
//! often each is passed; then a life is lived for each of those moments. Needs the feature `fault-points`.

#[path = "../it/support/mod.rs"]
#[macro_use]
#[expect(dead_code, unused_imports, reason = "other tests need more of it")]
mod support;

mod life;
mod promises;

use std::collections::BTreeMap;

use crate::{
    life::live,
    support::{Archive, Daemon, Registry},
};

/// How many times of one point are walked: later ones are of the same kind.
const TIMES: u32 = 6;

/// How few points there may be before somebody has broken the test: the feature is off, or the life too short.
const FEWEST: usize = 25;

#[tokio::test]
async fn a_daemon_killed_between_any_two_steps_keeps_its_word() {
    requires!(Root);
    let points = points().await;
    assert!(points.len() >= FEWEST, "only {points:#?}");

    for (point, count) in points {
        for time in 1..=count.min(TIMES) {
            let fault = format!("{point}:{time}");
            // Shown when the test fails: which life it was.
            println!("killed at {fault}");
            let deaths = one_life("BERTH_FAULT", &fault).await;
            // Group commits and threads make the last times of a point vary from life to life.
            assert!(deaths == 1 || time > 1, "{fault}: died {deaths} times");
        }
    }
}

/// The fault points that a life passes, and how often.
async fn points() -> BTreeMap<String, u32> {
    let log = tempfile::NamedTempFile::new().expect("make a file");
    let deaths = one_life("BERTH_FAULT_LOG", &log.path().display().to_string()).await;
    assert_eq!(deaths, 0, "the daemon died without a fault");
    let mut points = BTreeMap::new();
    for line in std::fs::read_to_string(log.path()).expect("read the file").lines() {
        *points.entry(line.to_owned()).or_default() += 1;
    }
    points
}

/// Lets a daemon with this in its environment live, on a host and beside a registry of its own; says how often it died.
async fn one_life(variable: &'static str, value: &str) -> u32 {
    let mut daemon = Daemon::start().await;
    let registry = Registry::start().await;
    let image = registry.push(&Archive::busybox(), "busybox", "latest").await;
    daemon.terminate().await;
    let survived = daemon.try_start_again(&[(variable, value.to_owned())]).await;
    if !survived {
        daemon.start_again().await;
    }
    live(&mut daemon, &image).await + u32::from(!survived)
}
