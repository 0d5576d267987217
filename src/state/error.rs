use std::{io, path::PathBuf};

use crate::error::{Classify, Kind, io_kind};

/// Why the state could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database file could not be opened or made.
    #[error("open the state database {path:?}")]
    Open {
        /// The file.
        path: PathBuf,
        /// What the store said.
        #[source]
        source: Box<redb::Error>,
    },
    /// The file was written by a newer engine.
    #[error("the state database {path:?} has schema {found}, this engine knows up to {known}")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: u64,
        /// Ours.
        known: u64,
    },
    /// A read failed.
    #[error("read table {table} of the state database")]
    Read {
        /// The table.
        table: &'static str,
        /// What the store said.
        #[source]
        source: Box<redb::Error>,
    },
    /// A record does not have the form that this engine knows.
    #[error("decode record {key:?} of table {table}")]
    Decode {
        /// The table.
        table: &'static str,
        /// The record.
        key: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// A record cannot be written down.
    #[error("encode record {key:?} of table {table}")]
    Encode {
        /// The table.
        table: &'static str,
        /// The record.
        key: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// A commit failed; none of its changes are there.
    #[error("commit to the state database")]
    Commit(#[source] std::sync::Arc<redb::Error>),
    /// The writer thread is gone: the daemon is stopping.
    #[error("the state database is closed")]
    Closed,
    /// A file of the run directory could not be read or written.
    #[error("{operation} {path:?}")]
    File {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::Open { source, .. } | Self::Read { source, .. } => store_kind(source),
            Self::Commit(source) => store_kind(source),
            Self::Newer { .. } => Kind::FailedPrecondition,
            Self::Decode { .. } => Kind::DataLoss,
            Self::Encode { .. } => Kind::Internal,
            Self::Closed => Kind::Unavailable,
            Self::File { source, .. } => io_kind(source),
        }
    }
}

fn store_kind(error: &redb::Error) -> Kind {
    match error {
        redb::Error::Io(source) => io_kind(source),
        redb::Error::Corrupted(_) => Kind::DataLoss,
        redb::Error::DatabaseAlreadyOpen => Kind::FailedPrecondition,
        _ => Kind::Internal,
    }
}
