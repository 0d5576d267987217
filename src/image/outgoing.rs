//! An image on its way out of the store: all its documents and blobs, with the digests that they came with.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use serde::Deserialize;

use super::{
    Error, Store,
    manifest::{Document, Manifest},
    origin::{Origin, SourceAuth},
    record::Record,
    registry::{Descriptor, own_media_type},
};
use crate::types::Digest;

/// Documents that one image may consist of.
const MAX_DOCUMENTS: usize = 1000;
/// Bytes that they may have together: they are kept in memory.
const MAX_BYTES: usize = 32 << 20;

/// Which of the images behind a name leave the store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Platforms {
    /// The one that was chosen for this host.
    #[default]
    Host,
    /// All that the index lists, fetched from where the image came from; the index itself, too.
    All,
}

/// An image as it leaves.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// Where the blobs are read from.
    pub(super) origin: Origin,
    /// Manifests and indexes; what they point to comes before them, so the last one is the image.
    pub(super) documents: Vec<OutgoingDocument>,
    /// Configurations and layers, each once.
    pub(super) blobs: Vec<Descriptor>,
    /// The manifest for this host.
    host_manifest: Digest,
}

/// A manifest or an index.
#[derive(Debug)]
pub(super) struct OutgoingDocument {
    /// What it is and which.
    pub(super) descriptor: Descriptor,
    /// As it was received.
    pub(super) bytes: Vec<u8>,
}

/// Everything that a document points to, whatever kind of document it is.
#[derive(Deserialize)]
struct Links {
    #[serde(default)]
    manifests: Vec<Descriptor>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

impl Outgoing {
    /// Collects an image.
    pub(super) async fn collect(
        store: &Arc<Store>,
        record: &Record,
        platforms: Platforms,
        auths: Vec<SourceAuth>,
    ) -> Result<Self, Error> {
        let origin = Origin::new(Arc::clone(store), record, auths);
        let root = match platforms {
            Platforms::Host => record.manifest,
            Platforms::All => record.index.unwrap_or(record.manifest),
        };
        let mut outgoing = Self { origin, documents: Vec::new(), blobs: Vec::new(), host_manifest: record.manifest };
        let mut seen = HashSet::new();
        let mut documents = HashMap::new();
        let mut size = 0;
        // Depth first; a document's turn to leave comes after those of all that it points to.
        let mut pending = vec![(root, false)];
        while let Some((digest, is_complete)) = pending.pop() {
            if is_complete {
                outgoing.documents.extend(documents.remove(&digest));
                continue;
            }
            if !seen.insert(digest) {
                continue;
            }
            let (document, links) = outgoing.document(digest).await?;
            size += document.bytes.len();
            documents.insert(digest, document);
            if outgoing.documents.len() + documents.len() > MAX_DOCUMENTS || size > MAX_BYTES {
                let reason = format!("it leads to more than {MAX_DOCUMENTS} documents or {MAX_BYTES} bytes of them");
                return Err(Error::Unusable { what: "index", digest: root, reason });
            }
            pending.push((digest, true));
            pending.extend(links.manifests.iter().rev().map(|child| (child.digest, false)));
            let blobs = links.config.into_iter().chain(links.layers);
            outgoing.blobs.extend(blobs.filter(|blob| seen.insert(blob.digest)));
        }
        if record.artifact.is_some() {
            let manifest = outgoing.host_manifest()?;
            outgoing.origin.add_files(&manifest)?;
        }
        Ok(outgoing)
    }

    /// What the image for this host consists of.
    pub(super) fn host_manifest(&self) -> Result<Manifest, Error> {
        let digest = self.host_manifest;
        let document = self.documents.iter().find(|document| document.descriptor.digest == digest);
        let document = document.ok_or(Error::Missing(digest))?;
        match Document::parse("to be saved", digest, &document.descriptor.media_type, &document.bytes)? {
            Document::Manifest(manifest) => Ok(manifest),
            Document::Index(_) => Err(Error::Missing(digest)),
        }
    }

    async fn document(&self, digest: Digest) -> Result<(OutgoingDocument, Links), Error> {
        let bytes = self.origin.document(digest).await?;
        let malformed = |source| Error::Document { what: "manifest", digest, source };
        let links = serde_json::from_slice(&bytes).map_err(malformed)?;
        let unusable = |failure| Error::Unusable { what: "manifest", digest, reason: crate::error::chain(&failure) };
        let media_type = own_media_type(&bytes).map_err(unusable)?;
        let descriptor =
            Descriptor { media_type, digest, size: bytes.len() as u64, urls: Vec::new(), annotations: BTreeMap::new() };
        Ok((OutgoingDocument { descriptor, bytes }, links))
    }
}
