//! Space that images and containers take.

use std::{
    collections::HashSet,
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use crate::{
    sys::block_device,
    types::{FilesystemSpace, FilesystemUsage, Timestamp},
};

/// Space by what it is used for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageUsage {
    /// Layers, blobs and records.
    pub images: FilesystemUsage,
    /// Writable parts of containers.
    pub containers: FilesystemUsage,
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
pub(super) fn space_around(directory: &Path) -> io::Result<FilesystemSpace> {
    let (found, device) = (rustix::fs::statvfs(directory)?, fs::metadata(directory)?.dev());
    Ok(FilesystemSpace {
        device: block_device::name(rustix::fs::major(device), rustix::fs::minor(device)),
        bytes: found.f_blocks.saturating_mul(found.f_frsize),
        inodes: found.f_files,
        inodes_free: found.f_ffree,
    })
}
