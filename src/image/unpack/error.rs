//! What can be wrong with a layer.

use std::io;

use crate::{
    error::{Classify, Kind, io_kind},
    image::tar,
    types::Digest,
};

/// A layer that could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The archive is broken, or reading it failed.
    #[error("read layer")]
    Archive(#[from] tar::Error),
    /// The compressed stream is broken, or reading it failed.
    #[error("decompress layer")]
    Decompress(#[source] io::Error),
    /// A compression that this engine does not undo.
    #[error("compression with {0} is not supported (gzip and zstd are)")]
    Compression(&'static str),
    /// The content is not what the media type says, nor anything else that is known.
    #[error("layer is said to be {0:?}, but its content is not")]
    Mislabelled(String),
    /// The compressed stream is not the one that the manifest names.
    #[error("layer content has digest {actual}, not {expected}")]
    Digest {
        /// As the manifest says.
        expected: Digest,
        /// As received.
        actual: Digest,
    },
    /// The compressed stream has another length than the manifest says.
    #[error("layer content has {actual} bytes, not {expected}")]
    Size {
        /// As the manifest says.
        expected: u64,
        /// As received; more than this may have been sent.
        actual: u64,
    },
    /// A name that leaves the layer or that no file can have.
    #[error("entry {path:?} of the layer: {reason}")]
    Path {
        /// The name as far as it is shown.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An entry that is no kind of file.
    #[error("entry {path:?} of the layer is of unknown type {flag:?}")]
    Type {
        /// The entry.
        path: String,
        /// The archive's type flag.
        flag: char,
    },
    /// The layer is larger than it may be.
    #[error("layer has more than {limit} {what}")]
    Limit {
        /// What is counted.
        what: &'static str,
        /// How much of it is allowed.
        limit: u64,
    },
    /// A file of the layer could not be made.
    #[error("{operation} {path:?} of the layer")]
    File {
        /// What was done.
        operation: &'static str,
        /// The entry.
        path: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A thread for the work could not be made.
    #[error("start unpacking a layer")]
    Thread(#[source] io::Error),
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::Archive(tar::Error::Read { source, .. }) | Self::Decompress(source) => match io_kind(source) {
                Kind::Internal => Kind::DataLoss,
                other => other,
            },
            Self::Archive(_) | Self::Digest { .. } | Self::Size { .. } | Self::Mislabelled(_) => Kind::DataLoss,
            Self::Compression(_) => Kind::Unimplemented,
            Self::Path { .. } | Self::Type { .. } => Kind::InvalidArgument,
            Self::Limit { .. } => Kind::ResourceExhausted,
            Self::File { source, .. } | Self::Thread(source) => io_kind(source),
        }
    }
}

/// The part of an entry's name that a message shows.
pub(in crate::image) fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).chars().take(200).collect()
}
