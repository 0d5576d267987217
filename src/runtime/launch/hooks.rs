//! Running the hooks of a container that is being launched.

use std::{
    os::fd::AsFd as _,
    time::{Duration, Instant},
};

use rustix::thread::ThreadNameSpaceType;

use super::{Child, parent};
use crate::runtime::{
    error::LaunchError,
    hooks::{Hooks, Phase},
    init,
    plan::{ContainerPlan, PidNamespace},
};

/// Time for the process that runs the hooks, beside theirs.
const MARGIN: Duration = Duration::from_secs(10);
/// The id of a container's process in a PID namespace of its own.
const FIRST: i32 = 1;

/// Phases that come when a container is assembled, on the host.
const ON_HOST: [Phase; 2] = [Phase::Prestart, Phase::CreateRuntime];
/// And then in the container.
const INSIDE: [Phase; 1] = [Phase::CreateContainer];

/// Whether a container with these hooks has to wait for some of them when it is assembled.
pub(in crate::runtime) fn wants_assembled(hooks: &Hooks) -> bool {
    hooks.has(&ON_HOST) || hooks.has(&INSIDE)
}

/// Runs the hooks for an assembled container, whose process waits. Blocking.
pub(super) fn run(hooks: &Hooks, plan: &ContainerPlan, process: &Child) -> Result<(), LaunchError> {
    if hooks.has(&ON_HOST) {
        let deadline = Instant::now() + hooks.limit(&ON_HOST) + MARGIN;
        parent::run_until(deadline, |reporter| init::hooks(hooks, &ON_HOST, process.pid, None, reporter))?;
    }
    if hooks.has(&INSIDE) {
        let deadline = Instant::now() + hooks.limit(&INSIDE) + MARGIN;
        let mut more = ThreadNameSpaceType::empty();
        more.set(ThreadNameSpaceType::USER, plan.user_namespace.is_some());
        // Not into one that others are in already: who of them may trace (`CAP_SYS_PTRACE`) would have the host's root.
        let own_pid = plan.pid == PidNamespace::Own;
        more.set(ThreadNameSpaceType::PROCESS_ID, own_pid);
        let pid = if own_pid { FIRST } else { process.pid };
        let target = Some((process.pidfd.as_fd(), more));
        parent::run_until(deadline, |reporter| init::hooks(hooks, &INSIDE, pid, target, reporter))?;
    }
    Ok(())
}
