//! What daemon and monitor say to each other; both halves read this file.
//!
//! ```text
//! daemon  → spawner   Request::Pod   + one end of a new socket pair, which becomes the daemon's first connection
//! monitor → daemon    Reply::Hello   once the pod's namespaces are there (or a Failure, and the monitor ends)
//! daemon  → monitor   Request::…     answered by one Reply or Failure with the same sequence number, in any order
//! monitor → daemon    Event::…       to every connection
//! ```
//! Messages are JSON and peers of different versions meet: unknown fields are ignored, a new field needs
//! `#[serde(default)]`, an unknown request is answered with [`Failure::Unsupported`], an unknown event is skipped.
//! `version` says which versions can work together.

mod frame;
pub(super) mod socket;
#[cfg(test)]
mod tests;
mod version;

use std::{borrow::Cow, path::PathBuf};

use serde::{Deserialize, Serialize};

pub(super) use frame::{Frame, Kind};
pub(super) use version::{HOOKS, Versions};

use crate::{
    error::{Classify, Kind as ErrorKind, io_kind},
    runtime::{
        LaunchError,
        checkpoint::Restore,
        launch::Identity,
        plan::{ContainerPlan, ExecPlan, PodPlan},
    },
    types::{ExitStatus, Id, Signal, Timestamp},
};

/// What a daemon asks for.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request<'a> {
    /// To the spawner: fork a monitor and make a pod's namespaces. Descriptor: the monitor's end of the connection.
    Pod { plan: Cow<'a, PodPlan> },
    /// First message of a connection to a running monitor: the newest protocol that the daemon speaks.
    Hello { protocol: u32 },
    /// Launch a container.
    Start { plan: Box<Cow<'a, ContainerPlan>>, io: ContainerIo },
    /// Launch a container from a checkpoint.
    Restore { plan: Box<Cow<'a, ContainerPlan>>, io: ContainerIo, from: Restore },
    /// Launch one more process in a container. Descriptors, unless it has a terminal: its stdin, stdout and stderr.
    Exec { exec: Id, container: Id, plan: Box<Cow<'a, ExecPlan>>, detached: bool },
    /// Kill an exec's process and all that descend from it.
    KillExec { exec: Id },
    /// Send a signal to a container's main process.
    Kill { container: Id, signal: Signal },
    /// Kill all processes of a container.
    KillAll { container: Id },
    /// Go on in a new log file at the same path.
    ReopenLog { container: Id },
    /// Attach to a container's stdio.
    Attach { container: Id, streams: Streams },
    /// Set the terminal size of a container or an exec.
    Resize { target: Id, columns: u16, rows: u16 },
    /// Drop the record of a container that has ended.
    Forget { container: Id },
    /// Kill what is left, take the pod's namespaces down and end.
    Shutdown,
}

/// The answer to a [`Request`] that was carried out.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    /// To `Pod` and `Hello`.
    Hello(Hello),
    /// To `Start` and `Restore`.
    Started(Started),
    /// To `Exec`. Descriptor: the terminal's master side, if there is one.
    Executed { pid: i32 },
    /// To `Attach`. Descriptors: the daemon's ends of the granted streams, in the order of [`Streams`]' fields.
    Attached { streams: Streams },
    /// To all others.
    Done,
}

/// What a monitor says without being asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Notice {
    /// A container's main process ended and all that belonged to it is cleared away.
    Exited { container: Id, status: ExitStatus },
    /// An exec's process ended.
    ExecExited { exec: Id, status: ExitStatus },
    /// The init of a shared PID namespace ended, and all processes of the namespace with it.
    InitExited { status: ExitStatus },
}

/// How a monitor introduces itself.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Hello {
    /// The protocol of this connection: the monitor's choice, see [`Versions::choose`].
    pub protocol: u32,
    /// The monitor's process.
    pub pid: i32,
    /// The init of a shared PID namespace.
    #[serde(default)]
    pub init: Option<i32>,
    /// Containers that run or whose exit record is kept.
    #[serde(default)]
    pub containers: Vec<Held>,
}

/// A container in a monitor's keeping.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Held {
    /// The container.
    pub id: Id,
    /// Its main process, in the host's numbering; meaningless once it has ended.
    pub pid: i32,
    /// When it was started.
    pub started_at: Timestamp,
    /// Who it runs as.
    pub user: Identity,
    /// How it ended, if it has.
    #[serde(default)]
    pub exit: Option<ExitStatus>,
}

/// Where a container's stdio goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerIo {
    /// Log file; its directory exists. `None`: output goes to attached clients only.
    pub log: Option<PathBuf>,
    /// Keep standard input open for attached clients; without it the container reads from `/dev/null`.
    pub stdin: bool,
    /// Close standard input when the first client that attached to it has closed its end.
    pub stdin_once: bool,
}

/// A container that was started.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Started {
    /// Its main process, in the host's numbering.
    pub pid: i32,
    /// When.
    pub at: Timestamp,
    /// Who it runs as.
    pub user: Identity,
}

/// A choice of stdio streams.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Streams {
    /// Standard input.
    pub stdin: bool,
    /// Standard output; all output of a container with a terminal.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
}

/// Why a monitor did not do what it was asked for.
#[derive(Debug, Clone, Serialize, Deserialize, thiserror::Error)]
pub enum Failure {
    /// Launching a pod, a container or an exec failed; all that was begun is undone.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// The monitor does not hold that container.
    #[error("no such container in this pod's monitor")]
    NoContainer,
    /// The monitor does not hold that exec; it may have ended.
    #[error("no such exec in this pod's monitor")]
    NoExec,
    /// The container is there already.
    #[error("container was started before")]
    AlreadyStarted,
    /// The container has ended.
    #[error("container is not running")]
    NotRunning,
    /// The container has not ended.
    #[error("container is running")]
    Running,
    /// It has no terminal.
    #[error("it has no terminal")]
    NoTerminal,
    /// It writes no log.
    #[error("container has no log")]
    NoLog,
    /// The pod is being shut down.
    #[error("pod is being shut down")]
    ShuttingDown,
    /// Some processes could not be killed in time.
    #[error("processes of the pod did not end in time")]
    Lingering,
    /// The monitor is older than the daemon and does not know the request.
    #[error("the pod's monitor does not know this request")]
    Unsupported,
    /// An operation of the system failed.
    #[error("{operation}: {}", std::io::Error::from_raw_os_error(*errno))]
    System {
        /// What was tried.
        operation: String,
        /// Why it failed.
        errno: i32,
    },
}

impl Failure {
    /// Makes a failure of a failed system call.
    pub(super) fn system(operation: impl Into<String>, error: &std::io::Error) -> Self {
        Self::System { operation: operation.into(), errno: error.raw_os_error().unwrap_or(libc::EIO) }
    }

    /// Makes a failure of another room's error: all its words, and the errno that is at its bottom.
    pub(super) fn caused(operation: &str, error: &(dyn std::error::Error + 'static)) -> Self {
        let mut words = operation.to_owned();
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(os) = error.downcast_ref::<std::io::Error>() {
                return Self::system(words, os);
            }
            words = format!("{words}: {error}");
            next = error.source();
        }
        Self::System { operation: words, errno: libc::EIO }
    }
}

impl Classify for Failure {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Launch(error) => error.kind(),
            Self::NoContainer | Self::NoExec => ErrorKind::NotFound,
            Self::AlreadyStarted => ErrorKind::AlreadyExists,
            Self::NotRunning | Self::Running | Self::NoTerminal | Self::NoLog => ErrorKind::FailedPrecondition,
            Self::ShuttingDown | Self::Lingering => ErrorKind::Unavailable,
            Self::Unsupported => ErrorKind::Unimplemented,
            Self::System { errno, .. } => io_kind(&std::io::Error::from_raw_os_error(*errno)),
        }
    }
}
