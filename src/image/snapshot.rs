//! Writable parts of containers.

use std::path::PathBuf;

/// What a container's root file system is mounted from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Read-only layers, top first; one empty directory if the image has none.
    pub lower: Vec<PathBuf>,
    /// Directory that takes the container's changes.
    pub upper: PathBuf,
    /// Overlayfs' working directory.
    pub work: PathBuf,
}
