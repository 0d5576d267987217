//! What can be wrong with a device that is asked for by name.

use std::path::PathBuf;

use crate::error::{Classify, Kind};

/// Why a device cannot be given to a container.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not a device's name.
    #[error("CDI device {0:?} is not named like vendor.com/class=device")]
    Name(String),
    /// No specification describes it.
    #[error("no CDI device {device} in {dirs}{unusable}")]
    Unknown {
        /// Its name.
        device: String,
        /// Where specifications were looked for.
        dirs: String,
        /// Which files could not be used, and why; empty for none.
        unusable: String,
    },
    /// Two specifications of the same rank describe it.
    #[error("CDI device {device} is described by both {} and {}", first.display(), second.display())]
    Conflict {
        /// Its name.
        device: String,
        /// One.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// It needs what this engine does not do.
    #[error("CDI device {device} needs {what}, which this engine does not have")]
    Unsupported {
        /// Its name.
        device: String,
        /// What it needs.
        what: &'static str,
    },
    /// What its specification says does not fit this host, or itself.
    #[error("CDI device {device}: {problem}")]
    Unusable {
        /// Its name.
        device: String,
        /// What is wrong.
        problem: String,
    },
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::Name(_) | Self::Unknown { .. } => Kind::InvalidArgument,
            Self::Conflict { .. } | Self::Unusable { .. } => Kind::FailedPrecondition,
            Self::Unsupported { .. } => Kind::Unimplemented,
        }
    }
}
