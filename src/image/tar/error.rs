//! What can be wrong with an archive.

use std::io;

/// An archive that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bytes could not be had.
    #[error("read archive at byte {position}")]
    Read {
        /// How far the archive was read.
        position: u64,
        /// Why.
        source: io::Error,
    },
    /// The archive ends within an entry.
    #[error("archive is cut off at byte {position}")]
    Truncated {
        /// Where it ends.
        position: u64,
    },
    /// A header that makes no sense.
    #[error("malformed archive header at byte {position}: {what}")]
    Header {
        /// Where the header begins.
        position: u64,
        /// Which part of it.
        what: &'static str,
    },
    /// A header is larger than this reader allows.
    #[error("archive header at byte {position} is too large: {size} bytes of {what}")]
    TooLarge {
        /// Where the header begins.
        position: u64,
        /// Which part of it.
        what: &'static str,
        /// Its size.
        size: u64,
    },
    /// The archive could not be written.
    #[error("write archive entry {path:?}")]
    Write {
        /// The entry.
        path: String,
        /// Why.
        source: io::Error,
    },
}
