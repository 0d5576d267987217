//! Launching a container from a checkpoint.

use std::{
    fs,
    os::fd::AsFd as _,
    time::{Duration, Instant},
};

use rustix::{
    fs::{CWD, Mode, OFlags, openat},
    process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid},
    system::{sethostname, uname},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

use super::{Launched, PodInit, Stdio, in_new_cgroup, parent};
use crate::{
    runtime::{
        cgroup::Entrance,
        checkpoint::{self, Restore},
        error::{At as _, LaunchError, Step},
        init,
        plan::ContainerPlan,
    },
    sys::{clone3::Clone3, poll::readable},
};

/// How long criu may take.
const DEADLINE: Duration = Duration::from_secs(100);

/// Launches a container from a checkpoint; otherwise as [`super::container`]. The caller must be a subreaper,
/// `PR_SET_CHILD_SUBREAPER`: the container's main process becomes its child when criu ends.
///
/// # Errors
/// As [`super::container`], and what criu complains of.
pub fn restore(plan: &ContainerPlan, restore: &Restore, pod: &PodInit, stdio: Stdio) -> Result<Launched, LaunchError> {
    in_new_cgroup(plan, |entrance| launch(plan, restore, pod, stdio, entrance))
}

fn launch(
    plan: &ContainerPlan,
    restore: &Restore,
    pod: &PodInit,
    stdio: Stdio,
    entrance: &Entrance,
) -> Result<Launched, LaunchError> {
    let clone = Clone3 { flags: libc::CLONE_NEWNS, cgroup: entrance.directory() };
    let hostname = in_uts_namespace(pod, || Ok(uname().nodename().to_owned()))?;
    let criu = parent::launch(&clone, None, |reporter| init::restore(plan, restore, pod, stdio, entrance, reporter))?;
    let ended = wait(&criu, restore);
    // criu gives the pod's namespace the host name that was dumped.
    in_uts_namespace(pod, || sethostname(hostname.to_bytes()).at(Step::Hostname, "of the pod"))?;
    ended?;
    let path = restore.images.join(checkpoint::PID_FILE);
    let text = fs::read_to_string(&path).at(Step::Restore, path.display())?;
    let pid = text.trim().parse().ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| LaunchError::new(Step::Restore, format!("{}: no process id", path.display())))?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).at(Step::Restore, "the restored process")?;
    // Nobody else reaps it, so if it is a child it is the one; it may be over already.
    match waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT) {
        Ok(_) => Ok(Launched { pid: pid.as_raw_nonzero().get(), pidfd, console: None, user: criu.user }),
        Err(errno) => Err(errno).at(Step::Restore, "the restored process"),
    }
}

/// Does something in the pod's UTS namespace, if it has one of its own.
fn in_uts_namespace<T>(pod: &PodInit, act: impl FnOnce() -> Result<T, LaunchError>) -> Result<T, LaunchError> {
    let Some(uts) = &pod.uts else { return act() };
    let own = openat(CWD, c"/proc/self/ns/uts", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .at(Step::Namespace, "own uts namespace")?;
    let enter = |namespace| move_into_link_name_space(namespace, Some(LinkNameSpaceType::HostNameAndNISDomainName));
    enter(uts.as_fd()).at(Step::Namespace, "uts")?;
    let result = act();
    enter(own.as_fd()).at(Step::Namespace, "return to own uts namespace")?;
    result
}

/// Waits for criu's end, which it must come to without an error.
fn wait(criu: &Launched, restore: &Restore) -> Result<(), LaunchError> {
    if !readable(&criu.pidfd, Instant::now() + DEADLINE).at(Step::Restore, "wait for criu")? {
        // The caller kills it with all that is in the cgroup; it is reaped as an orphan.
        return Err(LaunchError::new(Step::Restore, format!("criu was not done within {} s", DEADLINE.as_secs())));
    }
    let status = waitid(WaitId::PidFd(criu.pidfd.as_fd()), WaitIdOptions::EXITED).at(Step::Restore, "wait for criu")?;
    match status.and_then(|status| status.exit_status()) {
        Some(0) => Ok(()),
        _ => {
            let log = restore.images.join(checkpoint::RESTORE_LOG);
            Err(LaunchError::new(Step::Restore, checkpoint::complaints(&log)))
        }
    }
}
