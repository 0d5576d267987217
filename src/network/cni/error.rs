//! What can go wrong with plugins.

use std::{io, path::PathBuf, process::ExitStatus};

use super::plugin::Verb;
use crate::error::{Classify, Kind, io_kind};

/// Code by which a plugin says that trying again later may help.
const TRY_AGAIN: u32 = 11;
/// Code by which a plugin says that it can take no ADD now.
const UNAVAILABLE: u32 = 50;
/// Likewise, with the present pods cut off, too.
const CUT_OFF: u32 = 51;

/// A failure of a CNI plugin or of its configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no network configuration that could be used.
    #[error("cni config not loaded")]
    NotLoaded(#[source] Unloadable),
    /// Something of the pod cannot be told to plugins.
    #[error("{what} {value:?}: {reason}")]
    Request {
        /// What it is.
        what: &'static str,
        /// As it was given.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The plugin said what went wrong.
    #[error("cni plugin {plugin} failed to {verb}: {message} (code {code}){}{details}", if details.is_empty() { "" } else { ": " })]
    Plugin {
        /// Its type.
        plugin: String,
        /// What it was asked to do.
        verb: Verb,
        /// The specification's code, or its own from 100 on.
        code: u32,
        /// Short.
        message: String,
        /// Long; empty for none.
        details: String,
    },
    /// The plugin failed without saying why in the specification's form.
    #[error("cni plugin {plugin} failed to {verb} ({status}): {output}")]
    Failed {
        /// Its type.
        plugin: String,
        /// What it was asked to do.
        verb: Verb,
        /// How it ended.
        status: ExitStatus,
        /// The beginning of what it wrote.
        output: String,
    },
    /// The plugin did not end in time and was killed.
    #[error("cni plugin {plugin} did not {verb} within {seconds} s and was killed")]
    TimedOut {
        /// Its type.
        plugin: String,
        /// What it was asked to do.
        verb: Verb,
        /// How long it was given, s.
        seconds: u64,
    },
    /// The plugin could not be started, or not be talked to.
    #[error("run cni plugin {}", path.display())]
    Run {
        /// The program.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What the plugin answered cannot be used.
    #[error("the answer of cni plugin {plugin} to {verb} {reason}")]
    Answer {
        /// Its type.
        plugin: String,
        /// What it was asked to do.
        verb: Verb,
        /// What is wrong with it.
        reason: String,
    },
    /// The record of an attachment cannot be read, written or removed.
    #[error("{operation} {}", path.display())]
    Record {
        /// What was to be done.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Why there is no network configuration.
#[derive(Debug, thiserror::Error)]
pub enum Unloadable {
    /// The directory has no file with a configuration, or is not there.
    #[error("no network config found in {}", .0.display())]
    Missing(PathBuf),
    /// A file or directory cannot be read.
    #[error("read {}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The configuration cannot be meant.
    #[error("{}: {reason}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A plugin that the configuration names is not installed.
    #[error("no cni plugin {plugin} in {dirs}")]
    NoPlugin {
        /// Its type.
        plugin: String,
        /// Where it was looked for.
        dirs: String,
    },
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::NotLoaded(_) => Kind::Unavailable,
            Self::Request { .. } => Kind::InvalidArgument,
            Self::Plugin { code: TRY_AGAIN | UNAVAILABLE | CUT_OFF, .. } => Kind::Unavailable,
            Self::Plugin { .. } | Self::Failed { .. } | Self::Answer { .. } => Kind::Internal,
            Self::TimedOut { .. } => Kind::DeadlineExceeded,
            Self::Run { source, .. } | Self::Record { source, .. } => io_kind(source),
        }
    }
}
