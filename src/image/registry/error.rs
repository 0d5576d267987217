//! What can go wrong with registries.

use crate::error::{Classify, Kind};

/// Whose fault a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The request or the configuration of this host.
    Local,
    /// The registry, a mirror or a token server.
    Registry,
    /// What lies between.
    Network,
}

/// An operation on a registry that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No registry answers.
    #[error("no registry answers: {what}")]
    Unavailable {
        /// Operation and object.
        what: String,
    },
}

impl Error {
    /// What kubelet looks for at the beginning of a failed pull's message when the registry cannot be reached.
    pub const UNAVAILABLE_PREFIX: &str = "RegistryUnavailable";

    /// Whose fault it is.
    pub fn side(&self) -> Side {
        Side::Network
    }
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        Kind::Unavailable
    }
}
