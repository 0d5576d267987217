//! Space used.

use std::path::PathBuf;

use super::Timestamp;

/// Space that something takes on one file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilesystemUsage {
    /// When it was measured.
    pub at: Timestamp,
    /// A directory on the file system.
    pub mountpoint: PathBuf,
    /// Bytes.
    pub used_bytes: u64,
    /// Number of inodes.
    pub inodes_used: u64,
}

/// What a file system can hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FilesystemSpace {
    /// Its block device, `/dev/vda`; for one without, the numbers that the kernel knows it by.
    pub device: String,
    /// Size, bytes.
    pub bytes: u64,
    /// Inodes in all; 0 where their number has no limit.
    pub inodes: u64,
    /// Inodes that are free.
    pub inodes_free: u64,
}
