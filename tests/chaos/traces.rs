//! What a daemon without pods and images has, and must not have more of after a run.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use crate::support::{Daemon, footprint::Footprint, patience};

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

/// What pulls took that were broken off stays in the heap until another one is complete, KiB.
const KEPT_MEMORY: u64 = 16 * 1024;

/// Waits until the daemon takes no more of its host than before, and has nothing of pods and images.
pub(crate) async fn expect_no_more(daemon: &Daemon, before: &Footprint) {
    expect_in_places(daemon, &BTreeSet::new()).await;
    let started = Instant::now();
    loop {
        let now = Footprint::of(daemon);
        let excess = now.excess(before, KEPT_MEMORY);
        if excess.is_empty() {
            return;
        }
        let left = daemon.leftovers();
        assert!(started.elapsed() < patience(30), "left for good: {excess:?}\nbefore {before}\nnow {now}\n{left:#?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
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
