//! Launching: from a plan to processes.
//!
//! - **Owns:** the making of pods' namespaces, containers and execs, and the rollback when it fails half-way.
//! - **Never:** watches what it launched, or decides anything.
//! - **Runs in:** a monitor, which has one thread; every function blocks, at most until [`DEADLINE`].
//! - **Start reading at:** [`container`].

mod pin;

use std::{
    os::fd::{BorrowedFd, OwnedFd},
    time::Duration,
};

pub use pin::unpin;

use serde::{Deserialize, Serialize};

use super::{
    cgroup::Entrance,
    error::LaunchError,
    plan::{ContainerPlan, ExecPlan, PodPlan},
};

/// How long a launch may take; what is not ready by then is killed.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A pod's namespaces, held open.
#[derive(Debug)]
pub struct PodInit {
    /// Network namespace; `None` for the node's.
    pub net: Option<OwnedFd>,
    /// IPC namespace.
    pub ipc: Option<OwnedFd>,
    /// UTS namespace.
    pub uts: Option<OwnedFd>,
    /// User namespace.
    pub user: Option<OwnedFd>,
    /// Process 1 of a shared PID namespace, a child of the caller, who reaps it.
    pub init: Option<Child>,
}

/// A child process.
#[derive(Debug)]
pub struct Child {
    /// Its process id, as the caller sees it.
    pub pid: i32,
    /// A descriptor of it.
    pub pidfd: OwnedFd,
}

/// Standard input, output and error of a process.
#[derive(Debug)]
pub enum Stdio {
    /// The child's ends of three pipes, or any other files; they are closed in the caller.
    Pipes {
        /// Standard input.
        stdin: OwnedFd,
        /// Standard output.
        stdout: OwnedFd,
        /// Standard error.
        stderr: OwnedFd,
    },
    /// A terminal from the container's own devpts; its other side is in [`Launched::console`].
    Terminal,
}

/// Who a process runs as.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// User id, as the container sees it.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// All groups but the primary one.
    pub groups: Vec<u32>,
    /// Home directory, for `HOME`.
    #[serde(default)]
    pub home: String,
}

/// A process that executes its program.
#[derive(Debug)]
pub struct Launched {
    /// Its process id, as the caller sees it.
    pub pid: i32,
    /// A descriptor of it.
    pub pidfd: OwnedFd,
    /// The terminal's master side.
    pub console: Option<OwnedFd>,
    /// Who it runs as.
    pub user: Identity,
}

/// The container that an exec goes into.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// Its main process.
    pub pid: i32,
    /// A descriptor of it.
    pub pidfd: BorrowedFd<'a>,
    /// Who it was launched as: [`Launched::user`].
    pub user: &'a Identity,
    /// The way into the cgroup for this exec; `None` for the container's own cgroup.
    pub entrance: Option<&'a Entrance>,
}

/// Makes a pod's namespaces, pins them below the pod's directory (`ns/net`, `ns/ipc`, `ns/uts`, `ns/user`), sets them
/// up, mounts the pod's `shm` and starts the init of a shared PID namespace.
///
/// # Errors
/// On failure nothing is left behind.
pub fn pod(plan: &PodPlan) -> Result<PodInit, LaunchError> {
    let _ = plan;
    Err(LaunchError::new(super::Step::Clone, "not written yet"))
}

/// Launches a container: makes its cgroup, and a process that sets up its own file system and confinement and then
/// executes the program.
///
/// It is a child of the caller, who reaps it, and afterwards removes the cgroup.
///
/// # Errors
/// On failure nothing is left behind, also not the cgroup.
pub fn container(plan: &ContainerPlan, pod: &PodInit, stdio: Stdio) -> Result<Launched, LaunchError> {
    let _ = (plan, pod, stdio);
    Err(LaunchError::new(super::Step::Clone, "not written yet"))
}

/// Adds a process to a running container; it is a child of the caller, who reaps it.
///
/// # Errors
/// On failure nothing is left behind.
pub fn exec(plan: &ExecPlan, target: &Target<'_>, stdio: Stdio) -> Result<Launched, LaunchError> {
    let _ = (plan, target, stdio);
    Err(LaunchError::new(super::Step::Clone, "not written yet"))
}
