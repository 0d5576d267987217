//! Space that images and containers take.

use std::{
    collections::HashSet,
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{Error, Store};
use crate::{
    sys::block_device,
    task,
    types::{FilesystemSpace, FilesystemUsage, Id, Timestamp},
};

/// How long a measurement of containers' space is good for.
const USAGE_AGE: Duration = Duration::from_secs(10);

/// Space by what it is used for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageUsage {
    /// Layers, blobs and records.
    pub images: FilesystemUsage,
    /// Writable parts of containers.
    pub containers: FilesystemUsage,
}

impl Store {
    /// Space that a container's writable part takes. Blocking.
    ///
    /// # Errors
    /// When there is none or it cannot be read.
    pub fn snapshot_usage(&self, container: &Id) -> Result<FilesystemUsage, Error> {
        let upper = self.snapshots.upper(container);
        if let Some(space) = self.snapshots.counted(container) {
            return Ok(space.on(upper));
        }
        match Space::of(&upper) {
            Ok(space) => Ok(space.on(upper)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Error::NoSnapshot(container.clone())),
            Err(source) => Err(Error::file("measure", &upper, source)),
        }
    }

    /// What the file system of the containers' writable parts can hold. Blocking.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn snapshot_space(&self) -> Result<FilesystemSpace, Error> {
        let directory = self.snapshots.directory();
        space_around(directory).map_err(|source| Error::file("measure the file system of", directory, source))
    }

    /// Space that images and containers take; the latter as it was up to ten seconds ago.
    ///
    /// # Errors
    /// When the directory of containers cannot be read.
    pub async fn usage(self: &Arc<Self>) -> Result<ImageUsage, Error> {
        Ok(ImageUsage { images: self.images_usage(), containers: self.containers_usage().await? })
    }

    pub(super) fn images_usage(&self) -> FilesystemUsage {
        // Blobs and records are rounded up to the block size of the usual file systems, as layers are.
        const BLOCK: u64 = 4096;
        let mut space = self.layers.shelf().fold(Space::default(), |mut space, layer| {
            space.add(Space { bytes: layer.tally.bytes + 2 * BLOCK, inodes: layer.tally.inodes + 2 });
            space
        });
        space.add(self.blobs.shelf().fold(Space::default(), |mut space, size| {
            space.add(Space { bytes: size.next_multiple_of(BLOCK), inodes: 1 });
            space
        }));
        let records = self.images.count() as u64;
        space.add(Space { bytes: records * BLOCK, inodes: records });
        space.on(self.config.root.clone())
    }

    async fn containers_usage(self: &Arc<Self>) -> Result<FilesystemUsage, Error> {
        let fresh = |usage: &(Instant, FilesystemUsage)| usage.0.elapsed() < USAGE_AGE;
        let known = self.containers_usage.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, usage)) = known.filter(fresh) {
            return Ok(usage);
        }
        let directory = self.snapshots.directory().to_owned();
        let measured = task::blocking(move || match Space::of(&directory) {
            Ok(space) => Ok(space.on(directory)),
            Err(source) => Err(Error::file("measure", &directory, source)),
        })
        .await?;
        let mut known = self.containers_usage.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Some((Instant::now(), measured.clone()));
        Ok(measured)
    }
}

/// Bytes and inodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Space {
    /// Bytes on disk.
    pub(super) bytes: u64,
    /// Inodes.
    pub(super) inodes: u64,
}

impl Space {
    /// Counts a directory and all that is in it, each file once and holes not at all. What goes away meanwhile does
    /// not count. Blocking.
    pub(super) fn of(directory: &Path) -> io::Result<Self> {
        let mut space = Self::default();
        let mut linked = HashSet::new();
        let mut pending = vec![directory.to_owned()];
        let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        space.count(&fs::symlink_metadata(directory)?);
        while let Some(directory) = pending.pop() {
            let entries = match fs::read_dir(&directory) {
                Err(error) if gone(&error) => continue,
                entries => entries?,
            };
            for entry in entries {
                let entry = entry?;
                let found = match entry.metadata() {
                    Err(error) if gone(&error) => continue,
                    found => found?,
                };
                if found.is_dir() {
                    pending.push(entry.path());
                } else if found.nlink() > 1 && !linked.insert(found.ino()) {
                    continue;
                }
                space.count(&found);
            }
        }
        Ok(space)
    }

    /// Adds what something else takes.
    pub(super) fn add(&mut self, other: Self) {
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.inodes = self.inodes.saturating_add(other.inodes);
    }

    /// States it for the file system that `mountpoint` is on.
    pub(super) fn on(self, mountpoint: PathBuf) -> FilesystemUsage {
        FilesystemUsage { at: Timestamp::now(), mountpoint, used_bytes: self.bytes, inodes_used: self.inodes }
    }

    fn count(&mut self, found: &fs::Metadata) {
        // st_blocks counts 512 bytes whatever the block size of the file system is, stat(2).
        self.add(Self { bytes: found.blocks() * 512, inodes: 1 });
    }
}

/// What the file system that a directory is on can hold.
fn space_around(directory: &Path) -> io::Result<FilesystemSpace> {
    let (found, device) = (rustix::fs::statvfs(directory)?, fs::metadata(directory)?.dev());
    Ok(FilesystemSpace {
        device: block_device::name(rustix::fs::major(device), rustix::fs::minor(device)),
        bytes: found.f_blocks.saturating_mul(found.f_frsize),
        inodes: found.f_files,
        inodes_free: found.f_ffree,
    })
}
