//! Tar archives, read and written as container layers need them.
//!
//! Reads ustar, PAX (values are bytes: extended attributes hold newlines and NULs), GNU long names, base-256 numbers
//! and every GNU form of sparse files; writes ustar with PAX records where a field does not fit. Field meanings are
//! those of POSIX.1-2017 "pax" and of GNU tar's manual, "Basic Tar Format"; where archives contradict themselves, the
//! reading is that of Go's archive/tar, because the other engines see a layer through it.

mod block;
mod error;
mod pax;
mod reader;
mod sparse;
mod writer;

use std::collections::BTreeMap;

pub(super) use block::BLOCK;
pub use error::Error;
pub(super) use reader::Reader;
pub(super) use writer::Writer;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A regular file.
    File,
    /// Another name of an earlier entry, which [`Header::link`] tells.
    HardLink,
    /// A symbolic link.
    SymbolicLink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
    /// Something that this reader has no word for, by its type flag.
    Other(u8),
}

/// Seconds and nanoseconds since the epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Time {
    /// Whole seconds, rounded down.
    pub(super) seconds: i64,
    /// Nanoseconds after that.
    pub(super) nanos: u32,
}

/// A run of stored bytes in a sparse file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    /// Where in the file it belongs.
    pub(super) offset: u64,
    /// Number of bytes.
    pub(super) length: u64,
}

/// One entry of an archive, without its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    /// Name as written, not cleaned.
    pub(super) path: Vec<u8>,
    /// Target of a link as written.
    pub(super) link: Vec<u8>,
    /// What it is.
    pub(super) kind: Kind,
    /// Permission bits with set-id and sticky bits; nothing above them.
    pub(super) mode: u32,
    /// Owner.
    pub(super) uid: u32,
    /// Group.
    pub(super) gid: u32,
    /// Length of the file; for a sparse file with its holes.
    pub(super) size: u64,
    /// Time of last change.
    pub(super) mtime: Time,
    /// Major and minor number of a device.
    pub(super) device: (u32, u32),
    /// Extended attributes by name.
    pub(super) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Where the stored bytes of a sparse file belong, in rising order; the data that follows is only those.
    pub(super) sparse: Option<Vec<Segment>>,
}

impl Header {
    /// An entry of a kind with everything else at its simplest.
    pub(super) fn new(path: impl Into<Vec<u8>>, kind: Kind) -> Self {
        Self {
            path: path.into(),
            link: Vec::new(),
            kind,
            mode: if kind == Kind::Directory { 0o755 } else { 0o644 },
            uid: 0,
            gid: 0,
            size: 0,
            mtime: Time::default(),
            device: (0, 0),
            xattrs: BTreeMap::new(),
            sparse: None,
        }
    }
}

#[cfg(test)]
mod tests;
