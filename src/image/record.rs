//! An image as the store knows it.

use crate::types::{Digest, Timestamp};

use super::ImageConfig;

/// An image in the store at one moment; later changes of its names make a new value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Digest of the configuration: the same content has the same id whichever registry it came from.
    pub id: Digest,
    /// Digest of the manifest it was last received with.
    pub manifest: Digest,
    /// Names with tags, normalised: `docker.io/library/busybox:latest`.
    pub tags: Vec<String>,
    /// Names with digests: `docker.io/library/busybox@sha256:…`.
    pub digests: Vec<String>,
    /// Bytes of the configuration and the layers as the manifest gives them (compressed).
    pub size: u64,
    /// How it wants to be run.
    pub config: ImageConfig,
    /// Diff ids of the layers, bottom first.
    pub layers: Vec<Digest>,
    /// When it was made, if its configuration tells.
    pub created: Option<Timestamp>,
    /// Exempt from garbage collection by the node.
    pub pinned: bool,
}
