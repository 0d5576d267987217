//! What manifests say about content, OCI image-spec "descriptor.md".

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;

use crate::types::Digest;

/// Points to a blob or a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the content is.
    #[serde(default)]
    pub media_type: String,
    /// Digest of the content.
    pub digest: Digest,
    /// Length of the content in bytes.
    pub size: u64,
    /// Where a layer can be had from that the registry may not distribute itself.
    #[serde(default)]
    pub urls: Vec<String>,
    /// Notes about it.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

/// A manifest or index as it was received.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// Digest of `bytes`, which has been checked.
    pub digest: Digest,
    /// What the registry, or else the manifest itself, says it is.
    pub media_type: String,
    /// The manifest, byte by byte as the registry sent it.
    pub bytes: Bytes,
}
