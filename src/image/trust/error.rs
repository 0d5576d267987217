use std::{io, path::PathBuf};

/// A policy that cannot be used; no image can be judged by it then.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The policy, or a key that it names, cannot be read.
    #[error("read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not JSON of the form that containers-policy.json(5) describes.
    #[error("signature policy {}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What the reader stumbled over.
        source: serde_json::Error,
    },
    /// It says something that makes no sense or that this engine does not do.
    #[error("signature policy {}: {scope}: {reason}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// The part of it.
        scope: String,
        /// What is wrong with that.
        reason: String,
    },
}

/// An image that the policy does not let be used.
#[derive(Debug, thiserror::Error)]
#[error("{image}: {reason}")]
pub struct Untrusted {
    /// Its name.
    pub image: String,
    /// Why.
    pub reason: String,
}
