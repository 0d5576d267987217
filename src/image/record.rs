//! An image as the store knows it, in memory and on disk.

use serde::{Deserialize, Serialize};

use super::{ImageConfig, config::Configuration, images::Names, trust::Signature};
use crate::types::{Digest, Reference, Timestamp};

/// An image in the store at one moment; later changes of its names make a new value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Digest of the configuration: the same content has the same id whichever registry it came from. Of an artifact,
    /// whose configuration is mostly that of all others, too, the digest of the manifest.
    pub id: Digest,
    /// What it is, if it is no image but an artifact: it can be mounted, but not be run.
    pub artifact_type: Option<String>,
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
    /// What it is mounted from, bottom first: layers by their diff ids, and possibly a cover (see `cover.rs`).
    pub layers: Vec<Digest>,
    /// When it was made, if its configuration tells.
    pub created: Option<Timestamp>,
    /// Exempt from garbage collection by the node.
    pub pinned: bool,
}

/// What `<root>/images/<hex>.json` says about an image; all else is in its configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Digest of the configuration, or of an artifact's manifest.
    pub(super) id: Digest,
    /// What there is to say of an artifact.
    #[serde(default)]
    pub(super) artifact: Option<Artifact>,
    /// Digest of the manifest.
    pub(super) manifest: Digest,
    /// Digest of the index that the manifest was chosen from.
    #[serde(default)]
    pub(super) index: Option<Digest>,
    /// Diff ids of the layers, bottom first.
    pub(super) layers: Vec<Digest>,
    /// The layer that lies on top of them, if one is needed.
    #[serde(default)]
    pub(super) cover: Option<Digest>,
    /// Layers' streams that are kept as blobs.
    #[serde(default)]
    pub(super) streams: Vec<Digest>,
    /// Bytes of the configuration and the streams.
    pub(super) size: u64,
    /// Names with tags.
    #[serde(default)]
    pub(super) tags: Vec<String>,
    /// Names with digests.
    #[serde(default)]
    pub(super) digests: Vec<String>,
    /// Signatures that counted when the image was pulled.
    #[serde(default)]
    pub(super) signatures: Vec<Signature>,
    /// When the names last changed: of two records with the same name, the later one tells the truth.
    #[serde(default)]
    pub(super) updated: Timestamp,
}

/// What the record of an artifact says that images have no need of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Artifact {
    /// What it is, as a media type.
    pub(super) artifact_type: String,
    /// Digest of its configuration.
    pub(super) config: Digest,
}

/// Signatures that are kept of one image; when there are more, the oldest go.
const MAX_SIGNATURES: usize = 64;

impl Record {
    /// All digests that the image is known by at registries: of its manifests, and of indexes that lead to them.
    pub(super) fn manifests(&self) -> Vec<Digest> {
        let named = self.digests.iter().filter_map(|name| name.parse::<Reference>().ok()?.digest());
        named.chain([self.manifest]).chain(self.index).collect()
    }

    /// Adds the signatures that are new.
    pub(super) fn add_signatures(&mut self, added: Vec<Signature>) {
        self.signatures.retain(|known| !added.contains(known));
        self.signatures.extend(added);
        let surplus = self.signatures.len().saturating_sub(MAX_SIGNATURES);
        self.signatures.drain(..surplus);
    }

    /// Everything that the image is mounted from, bottom first.
    pub(super) fn all_layers(&self) -> Vec<Digest> {
        self.layers.iter().copied().chain(self.cover).collect()
    }

    /// Blobs that belong to the image.
    pub(super) fn blobs(&self) -> Vec<Digest> {
        let config = self.artifact.as_ref().map_or(self.id, |artifact| artifact.config);
        let documents = [config, self.manifest].into_iter().chain(self.index);
        documents.chain(self.streams.iter().copied()).collect()
    }

    /// Adds the names that are new.
    pub(super) fn add_names(&mut self, added: Names) {
        for (names, added) in [(&mut self.tags, added.tags), (&mut self.digests, added.digests)] {
            for name in added {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
    }

    /// What others see of it.
    pub(super) fn image(&self, configuration: &Configuration, pinned: bool) -> Image {
        Image {
            id: self.id,
            artifact_type: self.artifact.as_ref().map(|artifact| artifact.artifact_type.clone()),
            manifest: self.manifest,
            tags: self.tags.clone(),
            digests: self.digests.clone(),
            size: self.size,
            config: configuration.image.clone(),
            layers: self.all_layers(),
            created: configuration.created,
            pinned,
        }
    }
}
