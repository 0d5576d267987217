//! The last step of every way into the store: documents and layers become an image.

use std::sync::Arc;

use super::{
    Error, Image, Store,
    config::Configuration,
    content::Lease,
    cover,
    images::{Addition, Names},
    manifest::Manifest,
    receive::LayerPart,
    record::{Artifact, Record},
    trust::Signature,
};
use crate::{fault, types::Timestamp};

/// Everything that an image consists of, received and checked against its digests.
#[derive(Debug)]
pub(super) struct Parts {
    /// The manifest as it was received.
    pub(super) manifest_bytes: Vec<u8>,
    /// The index that it was chosen from, as it was received.
    pub(super) index_bytes: Option<Vec<u8>>,
    /// What the manifest says.
    pub(super) manifest: Manifest,
    /// The configuration as it was received.
    pub(super) config_bytes: Vec<u8>,
    /// The layers, bottom first.
    pub(super) layers: Vec<LayerPart>,
    /// Names that the image gets.
    pub(super) names: Names,
    /// Signatures that let it in.
    pub(super) signatures: Vec<Signature>,
}

/// Adds an image to the store. Blocking.
pub(super) fn assemble(store: &Store, parts: Parts) -> Result<Arc<Image>, Error> {
    let Parts { manifest_bytes, index_bytes, manifest, config_bytes, layers: layer_parts, names, signatures } = parts;
    let configuration = match manifest.artifact_type {
        None => {
            let configuration = Configuration::parse(manifest.config.digest, &config_bytes)?;
            check_layers(&manifest, &configuration, &layer_parts)?;
            configuration
        }
        Some(_) => Configuration::of_artifact(layer_parts.iter().map(|part| part.diff_id).collect()),
    };

    let (config, mut blobs) = store.blobs.put(&config_bytes)?;
    let (manifest_digest, lease) = store.blobs.put(&manifest_bytes)?;
    blobs.absorb(lease);
    let mut index = None;
    if let Some(bytes) = index_bytes {
        let (digest, lease) = store.blobs.put(&bytes)?;
        index = Some(digest);
        blobs.absorb(lease);
    }
    fault::point("image.assemble.documents");
    let mut layers = Lease::none(store.layers.shelf());
    let mut streams = Vec::new();
    for part in layer_parts {
        layers.absorb(part.lease);
        if let Some(lease) = part.stream {
            streams.extend_from_slice(lease.digests());
            blobs.absorb(lease);
        }
    }
    let cover = cover::make(&store.layers, &configuration.diff_ids)?;
    let cover = cover.and_then(|lease| {
        let digest = lease.digests().first().copied();
        layers.absorb(lease);
        digest
    });
    let artifact = manifest.artifact_type.clone().map(|artifact_type| Artifact { artifact_type, config });
    let record = Record {
        id: if artifact.is_some() { manifest_digest } else { config },
        artifact,
        manifest: manifest_digest,
        index,
        layers: configuration.diff_ids.clone(),
        cover,
        streams,
        size: manifest.size(),
        tags: Vec::new(),
        digests: Vec::new(),
        signatures,
        updated: Timestamp::default(),
    };
    fault::point("image.assemble.cover");
    store.images.add(Addition { record, configuration, layers, blobs, names })
}

/// Checks that the layers are those that the configuration names.
fn check_layers(manifest: &Manifest, configuration: &Configuration, layers: &[LayerPart]) -> Result<(), Error> {
    let digest = manifest.config.digest;
    let unusable = |reason| Error::Unusable { what: "image configuration", digest, reason };
    let os = configuration.image.os.as_str();
    if !matches!(os, "" | "linux") {
        return Err(unusable(format!("the image is for {os:?}")));
    }
    let named = configuration.diff_ids.len();
    if named != manifest.layers.len() || named != layers.len() {
        return Err(unusable(format!("it names {named} layers, and the manifest {}", manifest.layers.len())));
    }
    let found = layers.iter().zip(&configuration.diff_ids).zip(&manifest.layers);
    for ((layer, expected), descriptor) in found {
        if layer.diff_id != *expected {
            return Err(Error::DiffId { layer: descriptor.digest, expected: *expected, actual: layer.diff_id });
        }
    }
    Ok(())
}
