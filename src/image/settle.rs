//! Layers reach the disk after they can be used, not before.
//!
//! A layer may be thousands of files. Waiting for the disk would double the time of a pull, and `syncfs(2)` also waits
//! for whatever else is being written to the file system. So a layer is used at once, and it is written out in the
//! background; a mark in its directory then says that it is settled. After a restart of the daemon the page cache still
//! has everything, so all layers made in this boot are whole. After a power loss or a reboot those without the mark are
//! not trusted: they are discarded, and images that need them are not there any more.

use std::{
    fs::{self, File},
    io::Write as _,
    os::fd::{AsRawFd as _, OwnedFd},
    path::Path,
    sync::mpsc::{Receiver, Sender, channel},
    thread,
    time::{Duration, Instant},
};

use rustix::fs::{Mode, OFlags};

use super::{Error, layers::FILES, seal::seal};
use crate::{sys::heap, types::Digest};

/// Name of the mark.
const MARK: &str = "settled";
/// How long layers are waited for that can share a call.
const GATHER: Duration = Duration::from_secs(1);
/// How many layers share a call at most; each is an open directory.
const TOGETHER: usize = 128;

/// Writes layers out in the background.
#[derive(Debug)]
pub(super) struct Settler {
    queue: Sender<OwnedFd>,
}

impl Settler {
    /// Starts the background work for the file system that `directory` is on. Blocking.
    pub(super) fn start(directory: &Path) -> Result<Self, Error> {
        let failed = |source| Error::file("start writing out", directory, source);
        let file_system = File::open(directory).map_err(failed)?;
        let (queue, queued) = channel();
        let work = move || settle(&file_system, &queued);
        thread::Builder::new().name("settle".to_owned()).spawn(work).map_err(failed)?;
        Ok(Self { queue })
    }

    /// Has a layer's directory written out and marked. Blocking.
    pub(super) fn add(&self, layer: &Path) -> Result<(), Error> {
        let directory = File::open(layer).map_err(|source| Error::file("open", layer, source))?;
        // If the thread is gone, the layer stays without a mark.
        let _ = self.queue.send(directory.into());
        Ok(())
    }
}

/// Whether a layer that was made in the boot `made` is whole now.
pub(super) fn is_whole(layer: &Path, made: &str) -> bool {
    layer.join(MARK).exists() || boot_id().is_some_and(|now| now == made)
}

/// The kernel's random id of this boot, `random(4)`.
pub(super) fn boot_id() -> Option<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().map(|id| id.trim().to_owned())
}

fn settle(file_system: &File, queued: &Receiver<OwnedFd>) {
    while let Ok(first) = queued.recv() {
        let mut layers = vec![first];
        let end = Instant::now() + GATHER;
        while layers.len() < TOGETHER
            && let Ok(layer) = queued.recv_timeout(end.saturating_duration_since(Instant::now()))
        {
            layers.push(layer);
        }
        match rustix::fs::syncfs(file_system) {
            Ok(()) => layers.iter().for_each(mark),
            Err(error) => tracing::warn!(%error, layers = layers.len(), "layers could not be written to the disk"),
        }
        // The memory that it took to bring them in is not used any more.
        heap::trim();
    }
}

/// The seal that a layer got when it had reached the disk; `None` if it has not yet.
pub(super) fn seal_of(layer: &Path) -> Option<Digest> {
    fs::read_to_string(layer.join(MARK)).ok()?.trim().parse().ok()
}

/// Marks a layer, with its seal, by its open directory: by now its path may be that of another one.
fn mark(layer: &OwnedFd) {
    let files = format!("/proc/self/fd/{}/{FILES}", layer.as_raw_fd());
    let mark = || {
        let seal = seal(Path::new(&files))?;
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
        let mark = rustix::fs::openat(layer, MARK, flags, Mode::RUSR | Mode::WUSR)?;
        File::from(mark).write_all(seal.to_string().as_bytes())
    };
    // It may have been removed meanwhile.
    if let Err(error) = mark()
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(%error, "a layer could not be marked as written to the disk");
    }
}
