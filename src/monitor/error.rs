//! What can go wrong between a daemon and its monitors, as the daemon sees it.

use std::{io, path::PathBuf};

use super::wire::Failure;
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
    /// An exit record is there but cannot be read.
    #[error("read exit record {}", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Error {
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
            Self::Gone { .. } | Self::Connect { .. } => Kind::Unavailable,
            Self::Answer { .. } => Kind::Internal,
            Self::Record { .. } => Kind::DataLoss,
            Self::Seal { source, .. }
            | Self::Spawner(source)
            | Self::Spawn { source, .. }
            | Self::Send { source, .. } => io_kind(source),
        }
    }
}
