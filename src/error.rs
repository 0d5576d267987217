//! The kinds of failure that callers can tell apart.
//!
//! Every room has its own error type; all of them say their kind through [`Classify`], and each front door turns a
//! kind into its own wire's code in one place. Nothing else is shared.

use std::{error::Error, fmt::Write as _};

/// What went wrong, as far as a caller can act on it; one for each gRPC code that the engine uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The request itself is wrong; sending it again will not help.
    InvalidArgument,
    /// The thing does not exist.
    NotFound,
    /// A thing of that name exists already.
    AlreadyExists,
    /// The thing is not in the state that the operation needs.
    FailedPrecondition,
    /// The peer refused the credentials or they are missing.
    Unauthenticated,
    /// Something may not be done at all.
    PermissionDenied,
    /// A limit or a resource is used up; it may work later.
    ResourceExhausted,
    /// It took longer than the caller allowed.
    DeadlineExceeded,
    /// The caller went away or the engine is stopping.
    Cancelled,
    /// A peer or the engine itself cannot answer now; it may work later.
    Unavailable,
    /// Stored or received content is broken.
    DataLoss,
    /// The engine or this host does not offer it.
    Unimplemented,
    /// Anything else: a failed system call, a broken invariant.
    Internal,
}

/// Says what kind of failure an error is.
pub trait Classify: Error {
    /// The kind.
    fn kind(&self) -> Kind;
}

/// Kind of a failed system call, by what the errno says about the caller's chances.
pub fn io_kind(error: &std::io::Error) -> Kind {
    use std::io::ErrorKind as E;
    match error.kind() {
        E::StorageFull | E::QuotaExceeded | E::OutOfMemory => Kind::ResourceExhausted,
        E::TimedOut => Kind::DeadlineExceeded,
        _ => match error.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE | libc::EAGAIN | libc::ENOMEM) => Kind::ResourceExhausted,
            _ => Kind::Internal,
        },
    }
}

/// Writes an error and its sources in one line: `start container: open /x: permission denied`.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let _ = write!(text, ": {error}");
        source = error.source();
    }
    text
}
