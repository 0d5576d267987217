//! What can go wrong between a daemon and its monitors, as the daemon sees it.

use std::{io, path::PathBuf};

use super::wire::{Failure, socket::is_deserted};
use crate::{
    error::{Classify, Kind, io_kind},
    types::Id,
};

/// A monitor operation that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No copy of the engine's program could be had that containers cannot write to.
    #[error("seal the engine's program {}", path.display())]
    Seal {
        /// The program.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The spawner did not start.
    #[error("start the spawner")]
    Spawner(#[source] io::Error),
    /// The spawner could not be asked for a monitor.
    #[error("ask the spawner for a monitor of pod {pod}")]
    Spawn {
        /// The pod.
        pod: Id,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Nobody answers in a pod's directory.
    #[error("connect to the monitor in {}", dir.display())]
    Connect {
        /// The pod's directory.
        dir: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Somebody is there who does not answer.
    #[error("the monitor in {} does not answer", dir.display())]
    Silent {
        /// The pod's directory.
        dir: PathBuf,
    },
    /// Daemon and monitor are too far apart in age.
    #[error("the monitor in {} speaks version {version} of the protocol, which this engine does not; it can be stopped", dir.display())]
    Version {
        /// The pod's directory.
        dir: PathBuf,
        /// What the monitor speaks.
        version: u32,
    },
    /// A monitor could not be ended.
    #[error("kill the monitor in {}", dir.display())]
    Kill {
        /// The pod's directory.
        dir: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A request could not be sent.
    #[error("send {operation} to the monitor")]
    Send {
        /// The request.
        operation: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The connection broke before the answer came.
    #[error("monitor is gone, waiting for its answer to {operation}")]
    Gone {
        /// The request.
        operation: &'static str,
    },
    /// The monitor said no.
    #[error("{operation}")]
    Refused {
        /// The request.
        operation: &'static str,
        /// Why.
        #[source]
        failure: Failure,
    },
    /// The answer does not fit the request.
    #[error("monitor's answer to {operation} is not understood")]
    Answer {
        /// The request.
        operation: &'static str,
    },
    /// An exit record cannot be read, although it is there, or written.
    #[error("{operation} exit record {}", path.display())]
    Record {
        /// What was tried.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// Whether it means, beyond doubt, that no monitor lives in the pod's directory.
    pub fn says_that_nobody_lives(&self) -> bool {
        matches!(self, Self::Connect { source, .. } if is_deserted(source))
    }

    /// What the monitor said, if it was the monitor that refused.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Refused { failure, .. } => Some(failure),
            _ => None,
        }
    }
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::Refused { failure, .. } => failure.kind(),
            Self::Gone { .. } | Self::Connect { .. } | Self::Silent { .. } => Kind::Unavailable,
            Self::Version { .. } => Kind::FailedPrecondition,
            Self::Answer { .. } => Kind::Internal,
            Self::Record { .. } => Kind::DataLoss,
            Self::Seal { source, .. }
            | Self::Spawner(source)
            | Self::Spawn { source, .. }
            | Self::Kill { source, .. }
            | Self::Send { source, .. } => io_kind(source),
        }
    }
}
