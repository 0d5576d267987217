//! The daemon's half: asks the spawner for monitors and monitors for everything else.
//!
//! Everything here is cheap and cancel-safe: dropping a future gives up its answer, not the operation.

mod exec;
mod link;
mod monitor;
mod spawner;
mod stranger;

use std::{collections::HashMap, os::fd::OwnedFd};

pub use exec::Exec;
pub use monitor::{Monitor, exit_record, record_exit};
pub use spawner::Spawner;
pub use stranger::kill_monitor;

pub use super::{
    error::Error,
    wire::{ContainerIo, Failure, Held, Started, Streams},
};
use crate::types::{ExitStatus, Id};

/// What a monitor says without being asked.
#[derive(Debug, Clone)]
pub enum Event {
    /// A container's main process ended. Its leftovers are killed, its output is logged, its cgroup is removed.
    Exited {
        /// The container.
        container: Id,
        /// How it ended.
        status: ExitStatus,
    },
    /// The init of the pod's shared PID namespace ended, and the kernel killed all processes in the namespace.
    InitExited {
        /// How it ended.
        status: ExitStatus,
    },
    /// The connection broke: the monitor died, or it gave up on a daemon that did not read. Nothing comes after this.
    /// [`Monitor::connect`] tells which of both.
    Gone,
}

/// What a running monitor holds, at the moment of the connection.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The init of a shared PID namespace, while it lives.
    pub init: Option<i32>,
    /// Containers that run or whose exit record is kept.
    pub containers: Vec<Held>,
}

impl Snapshot {
    /// The containers by their ids.
    pub fn by_id(self) -> HashMap<Id, Held> {
        self.containers.into_iter().map(|held| (held.id.clone(), held)).collect()
    }
}

/// Stdio of an exec.
#[derive(Debug)]
pub enum ExecStdio {
    /// The process's own ends; they are closed on this side when the exec has started.
    Pipes {
        /// What it reads.
        stdin: OwnedFd,
        /// What it writes.
        stdout: OwnedFd,
        /// What it complains on.
        stderr: OwnedFd,
    },
    /// A new terminal; its master side comes back in [`Exec::console`].
    Terminal,
}

/// The daemon's ends of a container's streams. Stdin is missing where the container's is not kept open (any more).
///
/// An output ends (end of file) with the container; a client that takes nothing for ten seconds while there is
/// output for it is dropped, because the container waits for it.
#[derive(Debug, Default)]
pub struct Attached {
    /// To be written.
    pub stdin: Option<OwnedFd>,
    /// To be read.
    pub stdout: Option<OwnedFd>,
    /// To be read.
    pub stderr: Option<OwnedFd>,
}
