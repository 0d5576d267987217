//! A layer's way into the store: received first, then committed.

use std::io::Read;

use super::{
    Error, Store,
    artifact::Form,
    content::{Copied, Ingest, Lease},
    layers::{Layer, Staged, StagedFile},
    registry::Descriptor,
    unpack::{Expected, Unpacked},
};
use crate::types::Digest;

/// A layer that is in the store.
#[derive(Debug)]
pub(super) struct LayerPart {
    /// Digest of its archive, or what it goes by if it is none.
    pub(super) diff_id: Digest,
    /// Keeps its files.
    pub(super) lease: Lease<Layer>,
    /// Keeps its stream, if streams are kept.
    pub(super) stream: Option<Lease<u64>>,
}

impl LayerPart {
    /// The layer that a stream gives, if all that is to be kept of it is there.
    pub(super) fn present(store: &Store, stream: Digest, keep_stream: bool) -> Option<Self> {
        let (diff_id, lease) = store.layers.lease_stream(stream)?;
        let stream = store.blobs.shelf().lease(&[stream]).ok();
        let is_complete = stream.is_some() || !keep_stream;
        is_complete.then_some(Self { diff_id, lease, stream })
    }

    /// What a stream becomes in this form, if all that is to be kept of it is there.
    pub(super) fn present_as(store: &Store, form: &Form, stream: Digest, keep_stream: bool) -> Option<Self> {
        let Some(digest) = form.layer(stream) else { return Self::present(store, stream, keep_stream) };
        let lease = store.layers.shelf().lease(&[digest]).ok()?;
        Some(Self { diff_id: digest, lease, stream: None })
    }
}

/// A layer that is unpacked and verified but not visible yet; dropping it discards it.
#[derive(Debug)]
pub(super) struct ReceivedLayer {
    staged: Staged,
    stream: Option<Ingest>,
}

impl ReceivedLayer {
    /// Unpacks a stream, and copies it if it is to be kept. Blocking.
    pub(super) fn receive(
        store: &Store,
        source: impl Read + Send,
        media_type: &str,
        expected: Option<Expected>,
        keep_stream: bool,
    ) -> Result<Self, Error> {
        let mut stream = keep_stream.then(|| store.blobs.ingest()).transpose()?;
        let staged = store.layers.stage(Copied::new(source, stream.as_mut()), media_type, expected)?;
        Ok(Self { staged, stream })
    }

    /// What it is.
    pub(super) fn unpacked(&self) -> &Unpacked {
        &self.staged.unpacked
    }

    /// Makes it visible. Blocking.
    pub(super) fn commit(self, store: &Store) -> Result<LayerPart, Error> {
        let Unpacked { diff_id, digest, .. } = self.staged.unpacked;
        let stream = self.stream.map(|stream| store.blobs.commit(stream, Some(digest))).transpose()?;
        let lease = store.layers.commit(&self.staged)?;
        Ok(LayerPart { diff_id, lease, stream: stream.map(|(_, lease)| lease) })
    }
}

/// A layer in the form that it is to have, verified but not visible yet; dropping it discards it.
#[derive(Debug)]
pub(super) enum ReceivedContent {
    /// An archive's files.
    Unpacked(Box<ReceivedLayer>),
    /// One file, which is the stream itself: that is not kept a second time.
    File(StagedFile),
}

impl ReceivedContent {
    /// Takes a layer in. Blocking.
    pub(super) fn receive(
        store: &Store,
        source: impl Read + Send,
        layer: &Descriptor,
        form: &Form,
        keep_stream: bool,
    ) -> Result<Self, Error> {
        let expected = Expected { digest: layer.digest, size: layer.size };
        match (form, form.layer(layer.digest)) {
            (Form::File(path), Some(digest)) => store.layers.stage_file(source, expected, digest, path).map(Self::File),
            _ => ReceivedLayer::receive(store, source, &layer.media_type, Some(expected), keep_stream)
                .map(|layer| Self::Unpacked(Box::new(layer))),
        }
    }

    /// Makes it visible. Blocking.
    pub(super) fn commit(self, store: &Store) -> Result<LayerPart, Error> {
        match self {
            Self::Unpacked(layer) => layer.commit(store),
            Self::File(staged) => {
                let lease = store.layers.commit_file(&staged)?;
                Ok(LayerPart { diff_id: staged.digest, lease, stream: None })
            }
        }
    }
}
