use std::{io, net::SocketAddr};

use crate::error::{Classify, Kind, io_kind};

/// Why the streaming server cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be listened on.
    #[error("listen for streams on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Too many tokens wait for their client.
    #[error("{0} streaming requests wait for their client already")]
    TooMany(usize),
    /// The kernel gave no random bytes for a token.
    #[error("read random bytes for a token")]
    Random,
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::Listen { source, .. } => io_kind(source),
            Self::TooMany(_) => Kind::ResourceExhausted,
            Self::Random => Kind::Internal,
        }
    }
}
