//! What a daemon without pods and images has, and must not have more of after a run.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use crate::support::{Daemon, eventually, patience};

/// Descriptors that pools of connections may keep.
const POOLED: usize = 8;
/// Threads that the pool for blocking work may keep for a while.
const WORKERS: usize = 40;

/// Places that are empty when there are no pods and no images.
const PLACES: &[&str] = &[
    "run/pods",
    "run/network/leases",
    "root/containers",
    "root/image/blobs/sha256",
    "root/image/layers",
    "root/image/images",
    "root/image/ingest",
    "root/image/trash",
];

/// What the daemon has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Traces {
    descriptors: usize,
}

impl Traces {
    pub(crate) fn of(daemon: &Daemon) -> Self {
        Self { descriptors: entries(Path::new(&format!("/proc/{}/fd", daemon.pid()))).len() }
    }

    /// Fails when the daemon keeps more than this, or anything of pods and images.
    pub(crate) async fn expect_no_more(self, daemon: &Daemon) {
        expect_in_places(daemon, &BTreeSet::new()).await;
        expect_nothing_on_host(daemon).await;
        eventually("descriptors are closed", async || Self::of(daemon).descriptors <= self.descriptors + POOLED).await;
        let threads = entries(Path::new(&format!("/proc/{}/task", daemon.pid()))).len();
        assert!(threads < WORKERS, "{threads} threads");
    }
}

/// Waits until the host has nothing of pods: no mounts, cgroups, links, rules.
async fn expect_nothing_on_host(daemon: &Daemon) {
    let started = Instant::now();
    loop {
        let mut left = daemon.leftovers();
        // The link that holds the gateways' addresses is there as long as the daemon.
        left.links.retain(|link| link != "berth0");
        let places = left.mounts.is_empty() && left.cgroups.is_empty() && left.files.is_empty();
        if places && left.links.is_empty() && left.rules.is_empty() {
            return;
        }
        assert!(started.elapsed() < patience(20), "left for good: {left:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What there is of pods and images on disk.
pub(crate) fn in_places(daemon: &Daemon) -> BTreeSet<String> {
    let found = PLACES.iter().flat_map(|place| entries(&daemon.path(place)));
    found.filter(|path| !path.ends_with(".trash")).collect()
}

/// Waits until exactly this is on disk: what nobody needs is deleted in the background.
pub(crate) async fn expect_in_places(daemon: &Daemon, expected: &BTreeSet<String>) {
    let started = Instant::now();
    loop {
        let found = in_places(daemon);
        if found == *expected {
            return;
        }
        let missing: Vec<_> = expected.difference(&found).collect();
        let leaked: Vec<_> = found.difference(expected).collect();
        assert!(missing.is_empty(), "missing: {missing:#?}");
        assert!(started.elapsed() < patience(20), "left for good: {leaked:#?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn entries(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries.flatten().map(|entry| entry.path().display().to_string()).collect()
}
