//! Running hooks: in a process of its own, which ends with them.

use std::{convert::Infallible, os::fd::BorrowedFd};

use rustix::{fs::Mode, thread::ThreadNameSpaceType};

use super::namespaces;
use crate::{
    runtime::{
        error::{At as _, LaunchError, Step},
        hooks::{Hooks, Phase},
        launch::{Identity, Reporter},
    },
    sys::{descriptors::mark_close_on_exec, exit},
};

/// Runs the hooks of some phases and ends. `inside` is a container's process, whose namespaces they are to be run in,
/// and whether into the PID and user namespaces, too. `pid` is what they see as the container's process.
pub(in crate::runtime) fn hooks(
    hooks: &Hooks,
    phases: &[Phase],
    pid: i32,
    inside: Option<(BorrowedFd<'_>, ThreadNameSpaceType)>,
    reporter: &Reporter,
) -> Result<Infallible, LaunchError> {
    // The program of a hook gets its standard streams and nothing else that the launcher has open.
    mark_close_on_exec(3).at(Step::Hook, "descriptors")?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    if let Some((process, more)) = inside {
        // No label and no cgroup of the container's: what is run is the host's, and the container has not begun.
        namespaces::enter_container(process, more)?;
    }
    phases.iter().try_for_each(|phase| hooks.run(*phase, Some(pid)))?;
    reporter.ready(&Identity::default(), None)?;
    exit::now(0)
}
