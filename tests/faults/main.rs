//! The daemon is killed between any two steps of any operation, and starts again: what was answered still holds, what
//! was not can be asked for again, and nothing is left in the end.
//!
//! The steps are the fault points of `src/fault.rs`. A first life in which nothing happens tells which there are and how
//! often each is passed; then a life is lived for each of those moments. Needs the feature `fault-points`.

#[path = "../it/support/mod.rs"]
#[macro_use]
#[expect(dead_code, unused_imports, unused_macros, reason = "other tests need more of it")]
mod support;

mod life;
mod promises;

use std::collections::BTreeMap;

use crate::{
    life::live,
    support::{Archive, BUSYBOX, Daemon, Registry},
};

/// How many times of one point are walked: later ones are of the same kind.
const TIMES: u32 = 6;

/// How few points there may be before somebody has broken the test: the feature is off, or the life too short.
const FEWEST: usize = 25;

#[tokio::test]
async fn a_daemon_killed_between_any_two_steps_keeps_its_word() {
    requires!(Root);
    let mut watched = Daemon::start().await;
    // One registry for all: it belongs to the network of this thread.
    let registry = Registry::start().await;
    let image = registry.push(&Archive::busybox(), BUSYBOX, "latest").await;
    let log = watched.path("points");
    watched.terminate().await;
    assert!(watched.try_start_again(&[("BERTH_FAULT_LOG", log.display().to_string())]).await, "it does not start");
    let deaths = live(&mut watched, &image).await;
    assert_eq!(deaths, 0, "the daemon died without a fault");

    let mut points = BTreeMap::<String, u32>::new();
    for line in std::fs::read_to_string(&log).expect("the points").lines() {
        *points.entry(line.to_owned()).or_default() += 1;
    }
    drop(watched);
    assert!(points.len() >= FEWEST, "only {points:#?}");

    for (point, count) in points {
        for time in 1..=count.min(TIMES) {
            let fault = format!("{point}:{time}");
            // Shown when the test fails: which life it was.
            println!("killed at {fault}");
            let mut daemon = Daemon::start().await;
            daemon.terminate().await;
            let survived = daemon.try_start_again(&[("BERTH_FAULT", fault.clone())]).await;
            if !survived {
                daemon.start_again().await;
            }
            let deaths = live(&mut daemon, &image).await + u32::from(!survived);
            // Group commits and threads make the last times of a point vary from life to life.
            assert!(deaths == 1 || time > 1, "{fault}: died {deaths} times");
        }
    }
}
