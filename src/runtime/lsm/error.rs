//! Errors of security modules.

use std::{io, path::PathBuf};

use crate::error::{Classify, Kind};

/// Why a label cannot be given.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A profile is asked for by name where AppArmor is off.
    #[error("apparmor profile {0:?} is asked for, but apparmor is not enabled on this host")]
    AppArmorOff(String),
    /// The named profile is not loaded into the kernel.
    #[error("apparmor profile {0:?} is not loaded")]
    ProfileNotLoaded(String),
    /// The default profile cannot be compiled and loaded.
    #[error("load apparmor profile {profile:?} with apparmor_parser")]
    LoadProfile {
        /// Its name.
        profile: String,
        /// Cause.
        source: io::Error,
    },
    /// A SELinux part is not well-formed.
    #[error("invalid selinux {part} {value:?}")]
    InvalidSelinux {
        /// `user`, `role`, `type` or `level`.
        part: &'static str,
        /// What was given.
        value: String,
    },
    /// All category pairs are in use.
    #[error("no free selinux category pair")]
    LevelsExhausted,
    /// A kernel file cannot be read.
    #[error("read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// A file's label cannot be changed.
    #[error("set selinux label {label:?} on {}", path.display())]
    Relabel {
        /// The file.
        path: PathBuf,
        /// The label.
        label: String,
        /// Cause.
        source: io::Error,
    },
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::AppArmorOff(_) => Kind::FailedPrecondition,
            Self::ProfileNotLoaded(_) => Kind::NotFound,
            Self::InvalidSelinux { .. } => Kind::InvalidArgument,
            Self::LevelsExhausted => Kind::ResourceExhausted,
            Self::LoadProfile { .. } => Kind::FailedPrecondition,
            Self::Read { source, .. } | Self::Relabel { source, .. } => crate::error::io_kind(source),
        }
    }
}
