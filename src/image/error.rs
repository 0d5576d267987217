//! What can go wrong with images.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{registry, tar, trust, unpack};
use crate::{
    error::{Classify, Kind, io_kind},
    types::{Digest, Id, Size, reference::InvalidReference},
};

/// An image operation that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A name that cannot be one.
    #[error(transparent)]
    Name(#[from] InvalidReference),
    /// No image goes by that name.
    #[error("image is not in the store: {0:?}")]
    NotFound(String),
    /// A container has no snapshot.
    #[error("container {0} has no snapshot")]
    NoSnapshot(Id),
    /// A container has a snapshot already.
    #[error("container {0} has a snapshot already")]
    SnapshotExists(Id),
    /// A container asks for a limit of its writable layer that it cannot have.
    #[error("a writable layer of {asked} is asked for; it can be limited to {size} {bound}")]
    LayerLimit {
        /// What it asks for.
        asked: Size,
        /// Which way it is bounded.
        bound: &'static str,
        /// By what.
        size: Size,
    },
    /// Writable layers are to be limited where the file system cannot do it.
    #[error(
        "writable layers in {} cannot be limited: the file system keeps no quotas of projects; mount ext4 \
         (prepared by `tune2fs -O project -Q prjquota`) with the option prjquota, or XFS with pquota", .0.display()
    )]
    NoQuotas(PathBuf),
    /// Content that an image consists of is not there.
    #[error("content is not in the store: {0}")]
    Missing(Digest),
    /// Content was not kept, and nothing gives it again.
    #[error(
        "content was dropped after it was unpacked (`image.keep_blobs` is off) and is not to be had again where the \
         image came from: {digest}"
    )]
    NotKept {
        /// Which one.
        digest: Digest,
        /// What the registry said, if the image came from one.
        source: Option<Box<Error>>,
    },
    /// An image is pushed or saved by its id alone.
    #[error("image {0} is given by its id: say by which name it goes at the registry")]
    Nameless(Digest),
    /// Content has another digest than its name.
    #[error("content has digest {actual}, not {expected}")]
    Corrupt {
        /// Its name.
        expected: Digest,
        /// What it is.
        actual: Digest,
    },
    /// The registry, or the way to it.
    // The registry's own words come first: kubelet looks at the beginning of the text.
    #[error(transparent)]
    Registry(#[from] registry::Error),
    /// The signature policy does not let the image be used.
    #[error(transparent)]
    Untrusted(#[from] trust::Untrusted),
    /// No image can be judged by the signature policy.
    #[error(transparent)]
    Policy(#[from] trust::PolicyError),
    /// A manifest, an index or a configuration makes no sense.
    #[error("malformed {what} {digest}")]
    Document {
        /// What it is.
        what: &'static str,
        /// Which one.
        digest: Digest,
        /// What the reader stumbled over.
        source: serde_json::Error,
    },
    /// A manifest, an index or a configuration is not one that can be used.
    #[error("{what} {digest}: {reason}")]
    Unusable {
        /// What it is.
        what: &'static str,
        /// Which one.
        digest: Digest,
        /// What is wrong with it.
        reason: String,
    },
    /// The image exists only in forms that this engine does not run.
    #[error("image {image}: {reason}")]
    Unsupported {
        /// The image.
        image: String,
        /// What it is instead.
        reason: String,
    },
    /// An artifact is to be run.
    #[error("{image} is no container image but an artifact of type {artifact_type:?}: it can be mounted, not be run")]
    NotRunnable {
        /// The artifact.
        image: Digest,
        /// What it is.
        artifact_type: String,
    },
    /// A layer could not be unpacked.
    #[error("unpack layer {}", digest.map_or_else(|| "of the archive".to_owned(), |digest| digest.to_string()))]
    Layer {
        /// The layer as the manifest names it.
        digest: Option<Digest>,
        /// Why.
        source: unpack::Error,
    },
    /// A layer is not the one that the configuration names.
    #[error("layer {layer} has diff id {actual}, not {expected}")]
    DiffId {
        /// The layer as the manifest names it.
        layer: Digest,
        /// As the configuration says.
        expected: Digest,
        /// As unpacked.
        actual: Digest,
    },
    /// An image archive could not be read.
    #[error("read image archive")]
    Archive(#[from] tar::Error),
    /// An image archive holds no usable images.
    #[error("image archive: {0}")]
    Contents(String),
    /// A file or directory of the store.
    #[error("{operation} {}", path.display())]
    File {
        /// What was done.
        operation: &'static str,
        /// With what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Another process has the store open.
    #[error("image store {} is in use by another process", .0.display())]
    Locked(PathBuf),
    /// The failure of an operation that several callers waited for.
    #[error(transparent)]
    Joined(Arc<Error>),
}

impl Error {
    /// A failed file operation.
    pub(super) fn file(operation: &'static str, path: &Path, source: io::Error) -> Self {
        Self::File { operation, path: path.to_owned(), source }
    }

    /// Whether the signature policy is why.
    pub fn is_untrusted(&self) -> bool {
        match self {
            Self::Untrusted(_) => true,
            Self::Joined(source) => source.is_untrusted(),
            _ => false,
        }
    }
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::NotKept { source, .. } => source.as_ref().map_or(Kind::FailedPrecondition, |source| source.kind()),
            Self::Nameless(_)
            | Self::Name(_)
            | Self::Contents(_)
            | Self::LayerLimit { .. }
            | Self::Unusable { .. }
            | Self::NotRunnable { .. } => Kind::InvalidArgument,
            Self::NotFound(_) | Self::NoSnapshot(_) => Kind::NotFound,
            Self::SnapshotExists(_) => Kind::AlreadyExists,
            Self::Missing(_) | Self::Locked(_) | Self::Policy(_) | Self::NoQuotas(_) => Kind::FailedPrecondition,
            Self::Untrusted(_) => Kind::PermissionDenied,
            Self::Corrupt { .. } | Self::Document { .. } | Self::DiffId { .. } | Self::Archive(_) => Kind::DataLoss,
            Self::Registry(source) => source.kind(),
            Self::Unsupported { .. } => Kind::Unimplemented,
            Self::Layer { source, .. } => source.kind(),
            Self::File { source, .. } => io_kind(source),
            Self::Joined(source) => source.kind(),
        }
    }
}
