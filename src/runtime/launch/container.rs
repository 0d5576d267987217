//! Launching a container.

use std::os::fd::AsFd as _;

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::{Child, Launched, PodInit, Stdio, hooks, in_new_cgroup, parent};
use crate::{
    runtime::{
        cgroup::Entrance,
        error::{At as _, LaunchError, Step},
        init,
        plan::{ContainerPlan, PidNamespace},
    },
    sys::clone3::Clone3,
};

/// Launches a container: makes its cgroup, and a process that sets up its own file system and confinement and then
/// executes the program.
///
/// It is a child of the caller, who reaps it, and afterwards removes the cgroup.
///
/// # Errors
/// On failure nothing is left behind, also not the cgroup.
pub fn container(plan: &ContainerPlan, pod: &PodInit, stdio: Stdio) -> Result<Launched, LaunchError> {
    in_new_cgroup(plan, |entrance| launch(plan, pod, stdio, entrance))
}

fn launch(plan: &ContainerPlan, pod: &PodInit, stdio: Stdio, entrance: &Entrance) -> Result<Launched, LaunchError> {
    let target;
    let (pid_namespace, own_pid) = match plan.pid {
        PidNamespace::Host => (None, false),
        // With a user namespace, the PID namespace is made later, by a process that is in there.
        PidNamespace::Own => (None, pod.user.is_none()),
        PidNamespace::Pod => match &pod.init {
            Some(init) => (Some(init.pidfd.as_fd()), false),
            None => return Err(LaunchError::new(Step::Namespace, "pid: the pod has none to share")),
        },
        PidNamespace::Target(pid) => {
            parent::check_target(pid)?;
            let id = Pid::from_raw(pid).ok_or_else(|| LaunchError::new(Step::Namespace, "pid: no target"))?;
            target = pidfd_open(id, PidfdFlags::empty()).at(Step::Namespace, "target container")?;
            (Some(target.as_fd()), false)
        }
    };
    let flags = libc::CLONE_NEWNS | if own_pid { libc::CLONE_NEWPID } else { 0 };
    let clone = Clone3 { flags, cgroup: entrance.directory() };
    let mut assembled = |process: &Child| match &plan.hooks {
        Some(hooks) => hooks::run(hooks, plan, process),
        None => Ok(()),
    };
    parent::launch_in_steps(&clone, pid_namespace, &mut assembled, |reporter| {
        init::container(plan, pod, stdio, entrance, reporter)
    })
}
