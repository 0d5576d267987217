//! What can go wrong with images.

use crate::error::{Classify, Kind};

/// An image operation that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No image goes by that name.
    #[error("image is not in the store: {0:?}")]
    NotFound(String),
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::NotFound(_) => Kind::NotFound,
        }
    }
}
