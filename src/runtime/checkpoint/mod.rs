//! Checkpoints: a running container's processes written down by criu, to be made again from that.
//!
//! What belongs to the host or the pod is left out and given anew at the restore: the network namespace, mounts that
//! come from outside of the container, its cgroup, and the pipes of its standard streams. criu itself is a program of
//! the host's; nothing of it is needed until a checkpoint is asked for.

mod dump;
mod mounts;
mod rpc;

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

pub use dump::{Dump, dump};
pub(super) use mounts::{is_external, source};

use super::plan::{ContainerPlan, PATH, PidNamespace};
use crate::error::{Classify, Kind, io_kind};

/// The key under which criu knows a pod's network namespace; runc's, too.
pub(super) const NETWORK_KEY: &str = "extRootNetNS";
/// Name of criu's log of a restore, among the images.
pub(super) const RESTORE_LOG: &str = "restore.log";
/// Name of the file in which criu tells the restored main process, among the images.
pub(super) const PID_FILE: &str = "restore.pid";

/// Why a container cannot be checkpointed or restored.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no criu.
    #[error("criu is not installed (looked for it in {0})")]
    NoCriu(String),
    /// The container is of a kind that is not supported.
    #[error("containers {0} cannot be checkpointed or restored")]
    Unsupported(&'static str),
    /// criu did not do it.
    #[error("criu failed: {0}")]
    Criu(String),
    /// An operation of the system failed.
    #[error("{operation}")]
    System {
        /// What was tried.
        operation: String,
        /// Why it failed.
        source: io::Error,
    },
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::NoCriu(_) | Self::Unsupported(_) => Kind::FailedPrecondition,
            Self::Criu(_) => Kind::Internal,
            Self::System { source, .. } => io_kind(source),
        }
    }
}

/// What has to be known of a checkpoint beside criu's images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// What the main process had for standard input, output and error, as `/proc/<pid>/fd` shows it.
    pub stdio: [String; 3],
    /// Mount points whose content comes from outside.
    pub external_mounts: Vec<String>,
    /// The network namespace was the pod's, not the node's.
    pub pod_network: bool,
}

/// A checkpoint to begin from instead of a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restore {
    /// criu.
    pub criu: PathBuf,
    /// The directory of criu's images; its log goes there, too.
    pub images: PathBuf,
    /// What else is known of the checkpoint.
    pub description: Description,
}

/// Finds criu on this host.
///
/// # Errors
/// When there is none.
pub fn find_criu() -> Result<PathBuf, Error> {
    let path = env::var("PATH").unwrap_or_else(|_| PATH.to_owned());
    let found = env::split_paths(&path).map(|dir| dir.join("criu")).find(|program| program.is_file());
    found.ok_or(Error::NoCriu(path))
}

/// Says whether a container is of a kind that can be checkpointed, and restored.
///
/// # Errors
/// Names what it has that cannot be.
pub fn check(plan: &ContainerPlan) -> Result<(), Error> {
    if plan.process.terminal {
        return Err(Error::Unsupported("with a terminal"));
    }
    if plan.user_namespace.is_some() {
        return Err(Error::Unsupported("in a user namespace"));
    }
    if plan.hooks.is_some() {
        return Err(Error::Unsupported("whose devices have hooks"));
    }
    if plan.pid != PidNamespace::Own {
        return Err(Error::Unsupported("that share their PID namespace"));
    }
    Ok(())
}

/// What criu complains of in its log, shortened.
pub(super) fn complaints(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let errors: Vec<&str> = text.lines().filter_map(|line| line.split_once("Error ")).map(|(_, error)| error).collect();
    match errors.len() {
        0 => format!("its log {} says nothing of it", log.display()),
        // The last ones only repeat that it failed.
        _ => errors.into_iter().take(3).collect::<Vec<_>>().join("; "),
    }
}

fn system(operation: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
    let operation = operation.into();
    |source| Error::System { operation, source }
}
