//! Space that images and containers take.

use crate::types::FilesystemUsage;

/// Space by what it is used for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageUsage {
    /// Layers, blobs and records.
    pub images: FilesystemUsage,
    /// Writable parts of containers.
    pub containers: FilesystemUsage,
}
