//! Launching: from a plan to processes.
//!
//! - **Owns:** the making of pods' namespaces, containers and execs, and the rollback when it fails half-way.
//! - **Never:** watches what it launched, or decides anything.
//! - **Runs in:** a monitor, which has one thread; every function blocks, at most until [`DEADLINE`]. Only
//!   [`image_has_path`] runs in the daemon.
//! - **Start reading at:** [`container`].

mod child;
mod container;
mod exec;
mod hooks;
mod image_path;
mod parent;
mod pin;
mod pod;
mod protocol;
mod restore;
#[cfg(test)]
mod tests;

use std::{
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    time::Duration,
};

pub(super) use child::go_on_as_sibling;
pub use container::container;
pub use exec::exec;
pub(super) use hooks::wants_assembled;
pub use image_path::image_has_path;
pub use pin::unpin;
pub use pod::pod;
pub(super) use protocol::Reporter;
pub use restore::restore;

use serde::{Deserialize, Serialize};

use super::{
    cgroup::{Entrance, Hierarchy},
    error::{LaunchError, Step},
    plan::ContainerPlan,
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

impl PodInit {
    /// The namespaces.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        [&self.net, &self.ipc, &self.uts, &self.user].into_iter().flatten().map(OwnedFd::as_fd)
    }
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

impl Stdio {
    /// The child's ends.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let ends = match self {
            Self::Pipes { stdin, stdout, stderr } => [stdin, stdout, stderr].map(Some),
            Self::Terminal => [None; 3],
        };
        ends.into_iter().flatten().map(OwnedFd::as_fd)
    }
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

fn hierarchy() -> Result<Hierarchy, LaunchError> {
    Hierarchy::detect().map_err(cgroup_error)
}

/// Makes a container's cgroup and launches into it. On failure the cgroup is gone, with all that was in it.
fn in_new_cgroup(
    plan: &ContainerPlan,
    launch: impl FnOnce(&Entrance) -> Result<Launched, LaunchError>,
) -> Result<Launched, LaunchError> {
    let cgroup = hierarchy()?.create(&plan.cgroup, &plan.limits).map_err(cgroup_error)?;
    let launched = cgroup.entrance().map_err(cgroup_error).and_then(|entrance| launch(&entrance));
    launched.map_err(|error| {
        let died = error.step == Step::Protocol && cgroup.oom_kills().is_ok_and(|kills| kills > 0);
        // The first error is the one to tell; what cannot be removed is removed with the pod.
        let _ = cgroup.kill().and_then(|()| cgroup.remove());
        if died { out_of_memory() } else { error }
    })
}

/// The kernel has killed the new process for memory.
fn out_of_memory() -> LaunchError {
    LaunchError::os(Step::Protocol, "under the memory limits of the container and its pod", libc::ENOMEM)
}

/// A cgroup's error as one of a launch.
fn cgroup_error(error: super::cgroup::Error) -> LaunchError {
    let source = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<std::io::Error>());
    match source.and_then(std::io::Error::raw_os_error) {
        Some(errno) => LaunchError::os(Step::Cgroup, error.to_string(), errno),
        None => LaunchError::new(Step::Cgroup, crate::error::chain(&error)),
    }
}
