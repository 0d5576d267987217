//! Errors of cgroups.

use std::{io, path::PathBuf};

use super::InvalidLimit;
use crate::error::{Classify, Kind, io_kind};

/// What failed on which cgroup.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No cgroup file system is mounted.
    #[error("no cgroup hierarchy is mounted")]
    NotMounted,
    /// A path is not an absolute, clean cgroup path.
    #[error("invalid cgroup path {0:?}")]
    InvalidPath(String),
    /// A limit makes no sense.
    #[error("invalid limit")]
    InvalidLimit(#[from] InvalidLimit),
    /// A file cannot be read.
    #[error("read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// A file's content is not understood.
    #[error("unexpected content of {}: {content:?}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What it held, cut short.
        content: String,
    },
    /// The kernel refuses a value.
    #[error("write {value:?} to {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What was written.
        value: String,
        /// Cause.
        source: io::Error,
    },
    /// A directory cannot be made.
    #[error("create cgroup {}", path.display())]
    Create {
        /// The directory.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// A directory cannot be opened.
    #[error("open cgroup {}", path.display())]
    Open {
        /// The directory.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// A directory cannot be removed.
    #[error("remove cgroup {}", path.display())]
    Remove {
        /// The directory.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// The program with the device rules of a v2 cgroup cannot be loaded or attached.
    #[error("attach device filter to cgroup {}", path.display())]
    DeviceFilter {
        /// The cgroup.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// A limit needs a controller that the host lacks.
    #[error("this host has no cgroup file {file} to set a limit of {value:?} with")]
    Unsupported {
        /// File name, which begins with the controller's.
        file: String,
        /// The value.
        value: String,
    },
    /// A new memory limit is lower than what is in use.
    #[error("memory limit of {limit} bytes is below the {usage} bytes in use")]
    BelowUsage {
        /// The limit asked for.
        limit: u64,
        /// Present use.
        usage: u64,
    },
    /// systemd does not do what is asked of it.
    #[error("{operation} systemd unit {unit}")]
    Systemd {
        /// What was asked: start, stop, …
        operation: &'static str,
        /// The unit.
        unit: String,
        /// Cause.
        source: io::Error,
    },
    /// Processes do not stop, stuck in the kernel.
    #[error("freeze cgroup {}: its processes do not stop", path.display())]
    Unfreezable {
        /// The cgroup.
        path: PathBuf,
    },
    /// Processes survive SIGKILL, stuck in the kernel.
    #[error("{count} processes in cgroup {} do not die", path.display())]
    Unkillable {
        /// The cgroup.
        path: PathBuf,
        /// How many.
        count: usize,
    },
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::InvalidPath(_) | Self::InvalidLimit(_) => Kind::InvalidArgument,
            Self::Write { source, .. } => match source.raw_os_error() {
                Some(libc::EINVAL | libc::ERANGE) => Kind::InvalidArgument,
                Some(libc::EBUSY) => Kind::FailedPrecondition,
                Some(libc::ENOENT | libc::ENODEV) => Kind::NotFound,
                _ => io_kind(source),
            },
            Self::Read { source, .. } | Self::Open { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Kind::NotFound
            }
            Self::Read { source, .. }
            | Self::Open { source, .. }
            | Self::Create { source, .. }
            | Self::DeviceFilter { source, .. }
            | Self::Systemd { source, .. }
            | Self::Remove { source, .. } => io_kind(source),
            Self::NotMounted | Self::Unsupported { .. } | Self::BelowUsage { .. } => Kind::FailedPrecondition,
            Self::Malformed { .. } | Self::Unfreezable { .. } | Self::Unkillable { .. } => Kind::Internal,
        }
    }
}
