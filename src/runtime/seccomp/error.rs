//! Errors of profiles and their compilation.

use std::{io, path::PathBuf};

use crate::error::{Classify, Kind};

/// Why there is no filter.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A profile file cannot be read.
    #[error("read seccomp profile {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// A profile is larger than any real one.
    #[error("seccomp profile is larger than {limit} bytes")]
    TooLarge {
        /// Largest accepted size.
        limit: u64,
    },
    /// A profile is not JSON of the known form.
    #[error("parse seccomp profile")]
    Parse(#[source] serde_json::Error),
    /// The profile asks for something that this engine does not offer.
    #[error("seccomp {0} is not supported")]
    Unsupported(String),
    /// The compiled program is too long for the kernel.
    #[error("seccomp profile needs {0} instructions, more than the kernel's limit of 4096")]
    TooManyInstructions(usize),
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => Kind::NotFound,
            Self::Read { .. } => Kind::Internal,
            _ => Kind::InvalidArgument,
        }
    }
}
