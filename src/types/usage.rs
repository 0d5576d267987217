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
