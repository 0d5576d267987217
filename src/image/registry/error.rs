//! What can go wrong with registries: [`Failure`] for one request, [`Error`] for a whole operation.

use std::{fmt, path::PathBuf, time::Duration};

use reqwest::StatusCode;

use crate::{
    error::{Classify, Kind, chain, io_kind},
    types::Digest,
};

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

/// Whether the same request may succeed later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// It will not.
    Never,
    /// It may, but if it fails twice it is not worth waiting for: nobody listens there, or nobody answers.
    Once,
    /// It may, after the given time if the peer named one.
    After(Option<Duration>),
}

/// An operation on a registry that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// All hosts that could have answered have failed.
    #[error("{operation} {object} at {host}{others}")]
    Request {
        /// What was to be done, as a verb.
        operation: &'static str,
        /// The image, or the blob and its image.
        object: String,
        /// The host whose answer counts most: the upstream registry if it was asked.
        host: String,
        /// What happened at all other hosts.
        others: Others,
        /// What happened at `host`.
        source: Box<Failure>,
    },
    /// Configuration leaves no host that may be asked.
    #[error("no host is configured that may {operation} {object}")]
    NoHost {
        /// What was to be done, as a verb.
        operation: &'static str,
        /// The image.
        object: String,
    },
    /// The host in the image's name looks like an IPv4 address and is none.
    #[error("registry host in image name is not an address: {domain:?}")]
    InvalidDomain {
        /// The host.
        domain: String,
    },
    /// A host's configuration cannot be read.
    #[error("read registry host configuration {}", path.display())]
    ReadHosts {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A host's configuration is not what it should be.
    #[error("registry host configuration {}: {reason}", path.display())]
    InvalidHosts {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column where they are known.
        reason: String,
    },
    /// The caller's credentials are not what they should be.
    #[error("credentials for {object}: {reason}")]
    InvalidAuth {
        /// The image.
        object: String,
        /// What is wrong; never any part of them.
        reason: &'static str,
    },
}

impl Error {
    /// Whose fault it is.
    pub fn side(&self) -> Side {
        match self {
            Self::Request { source, .. } => source.side(),
            _ => Side::Local,
        }
    }

    /// Whether the operation may succeed later, and when.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Request { source, .. } => source.retry(),
            _ => Retry::Never,
        }
    }
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::Request { source, .. } => source.kind(),
            Self::NoHost { .. } | Self::ReadHosts { .. } | Self::InvalidHosts { .. } => Kind::FailedPrecondition,
            Self::InvalidAuth { .. } | Self::InvalidDomain { .. } => Kind::InvalidArgument,
        }
    }
}

/// Hosts that were asked besides the one an error is about, with what happened there.
#[derive(Debug, Default)]
pub struct Others(pub(super) Vec<(String, Failure)>);

impl fmt::Display for Others {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (host, failure)) in self.0.iter().enumerate() {
            let before = if index == 0 { " (also tried " } else { "; " };
            write!(f, "{before}{host}: {}", chain(failure))?;
        }
        if self.0.is_empty() { Ok(()) } else { f.write_str(")") }
    }
}

/// Why one host did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// No connection, or it broke.
    #[error("{}", .0.step())]
    Transport(#[source] Cause),
    /// The connection ended before the content did.
    #[error("connection ended after {received} of {expected} bytes")]
    Truncated {
        /// Bytes of the content received so far.
        received: u64,
        /// Bytes that it should have.
        expected: u64,
    },
    /// Nothing came for too long.
    #[error("nothing received for {} s", .0.as_secs_f32())]
    Stalled(Duration),
    /// The answer was not complete in time.
    #[error("answer not complete within {} s", .0.as_secs_f32())]
    Slow(Duration),
    /// The host refuses.
    #[error("{status}{detail}")]
    Status {
        /// The HTTP status.
        status: StatusCode,
        /// What the host adds to it, cleaned, beginning with `: ` unless it is empty.
        detail: String,
        /// How long the host wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// The host wants credentials and there are none, or it does not take the ones there are.
    #[error("{0}")]
    Credentials(&'static str),
    /// The token server that the host names did not give a token.
    #[error("get a token from {host}")]
    Token {
        /// Token server.
        host: String,
        /// What happened there.
        source: Box<Failure>,
    },
    /// The host sends us where we do not go.
    #[error("refused redirect: {0}")]
    Redirect(String),
    /// The content is not what its digest says.
    #[error("content has digest {found} instead of {expected}")]
    Digest {
        /// Digest asked for, or promised by the host.
        expected: Digest,
        /// Digest of what was received.
        found: Digest,
    },
    /// The content is not as long as it should be.
    #[error("content has {found} bytes instead of {expected}")]
    Length {
        /// Length that the descriptor gives.
        expected: u64,
        /// Length that the host gives, or what has been received when there was no end.
        found: u64,
    },
    /// The answer is longer than anything we take.
    #[error("answer is longer than {0} bytes")]
    TooLong(usize),
    /// The host breaks the protocol.
    #[error("unusable answer: {0}")]
    Protocol(String),
    /// Docker's first manifest format, which no longer is one.
    #[error("manifest is in Docker's withdrawn schema 1 format; push the image again with a current tool")]
    SchemaOne,
    /// The content to be sent cannot be read.
    #[error("read the content to be pushed")]
    Content(#[source] std::io::Error),
    /// TLS cannot be set up on this host.
    #[error("set up TLS")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A certificate or key file of this host's configuration cannot be used.
    #[error("use {}", path.display())]
    Trust {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Failure {
    /// Whose fault it is.
    pub fn side(&self) -> Side {
        match self {
            Self::Transport(cause) => cause.side(),
            Self::Truncated { .. } | Self::Stalled(_) | Self::Slow(_) => Side::Network,
            Self::Credentials(_) | Self::Content(_) | Self::Tls(_) | Self::Trust { .. } => Side::Local,
            Self::Token { source, .. } => source.side(),
            _ => Side::Registry,
        }
    }

    /// Whether the same request to the same host may succeed later.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Transport(cause) => cause.retry(),
            Self::Truncated { .. } => Retry::After(None),
            Self::Stalled(_) | Self::Slow(_) => Retry::Once,
            Self::Status { status, retry_after, .. } => match status.as_u16() {
                408 | 425 | 429 | 500 | 502..=504 => Retry::After(*retry_after),
                _ => Retry::Never,
            },
            Self::Token { source, .. } => source.retry(),
            _ => Retry::Never,
        }
    }
}

impl Classify for Failure {
    fn kind(&self) -> Kind {
        match self {
            Self::Transport(cause) if cause.side() == Side::Local => Kind::FailedPrecondition,
            Self::Transport(_) | Self::Truncated { .. } => Kind::Unavailable,
            Self::Stalled(_) | Self::Slow(_) => Kind::DeadlineExceeded,
            Self::Status { status, .. } => match status.as_u16() {
                400 => Kind::InvalidArgument,
                401 => Kind::Unauthenticated,
                403 => Kind::PermissionDenied,
                404 | 410 => Kind::NotFound,
                _ => Kind::Unavailable,
            },
            Self::Credentials(_) => Kind::Unauthenticated,
            Self::Token { source, .. } => match source.kind() {
                // It is the token server's address or reasoning that is unknown to it, not the image.
                Kind::NotFound | Kind::InvalidArgument | Kind::PermissionDenied => Kind::Unauthenticated,
                kind => kind,
            },
            Self::Redirect(_) | Self::Protocol(_) => Kind::Unavailable,
            Self::Digest { .. } | Self::Length { .. } | Self::TooLong(_) => Kind::DataLoss,
            Self::SchemaOne => Kind::Unimplemented,
            Self::Content(error) => io_kind(error),
            Self::Tls(_) | Self::Trust { .. } => Kind::FailedPrecondition,
        }
    }
}

/// An error of the HTTP client, shown by its innermost reason: the outer ones only say that sending failed. It has no
/// address in it, because addresses may carry signatures.
#[derive(Debug)]
pub struct Cause(reqwest::Error);

impl Cause {
    fn step(&self) -> &'static str {
        if self.0.is_builder() {
            "set up the connection"
        } else if self.0.is_connect() {
            "connect"
        } else if self.0.is_body() || self.0.is_decode() {
            "receive the answer"
        } else {
            "send the request"
        }
    }

    fn side(&self) -> Side {
        if self.0.is_builder() {
            Side::Local
        } else if self.is_malformed() {
            Side::Registry
        } else {
            Side::Network
        }
    }

    fn retry(&self) -> Retry {
        if self.0.is_builder() || self.is_malformed() {
            Retry::Never
        } else if self.0.is_connect() {
            Retry::Once
        } else {
            Retry::After(None)
        }
    }

    /// Whether what came was not HTTP, or more of a header than anyone needs.
    fn is_malformed(&self) -> bool {
        self.layers().any(|error| error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse))
    }

    /// Whether there was someone at the other end who did not speak TLS as we do.
    pub(super) fn is_failed_handshake(&self) -> bool {
        use std::io::ErrorKind as E;
        self.0.is_connect()
            && self.layers().any(|error| match error.downcast_ref::<std::io::Error>() {
                Some(error) => matches!(error.kind(), E::InvalidData | E::UnexpectedEof | E::ConnectionReset),
                None => error.is::<rustls::Error>(),
            })
    }

    fn layers(&self) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
        std::iter::successors(Some(&self.0 as &(dyn std::error::Error + 'static)), |error| {
            // An I/O error names as its source the source of the error that it wraps, and so hides that one.
            let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
            wrapped.map(|wrapped| wrapped as &(dyn std::error::Error + 'static)).or_else(|| error.source())
        })
    }
}

impl From<reqwest::Error> for Cause {
    fn from(error: reqwest::Error) -> Self {
        Self(error.without_url())
    }
}

impl From<reqwest::Error> for Failure {
    fn from(error: reqwest::Error) -> Self {
        Self::Transport(error.into())
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.layers().last() {
            Some(root) => fmt::Display::fmt(root, f),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Cause {}
