//! Going into the cgroup and the namespaces.

use std::{ffi::CString, os::fd::AsFd as _, os::fd::BorrowedFd};

use nix::sched::{CloneFlags, unshare};
use rustix::{
    fs::{CWD, Mode, OFlags, PROC_SUPER_MAGIC, fstatfs, openat},
    io::Errno,
    process::{Gid, Uid, setsid},
    thread::{
        LinkNameSpaceType, ThreadNameSpaceType, move_into_link_name_space, move_into_thread_name_spaces,
        set_thread_groups, set_thread_res_gid, set_thread_res_uid,
    },
};

use crate::{
    runtime::{
        cgroup::Entrance,
        error::{At as _, LaunchError, Step},
        launch::PodInit,
        plan::PodPlan,
    },
    sys::keyctl,
    types::Id,
};

/// Goes into the cgroup, as far as the process was not born there, and begins a session.
pub(super) fn join_cgroup(entrance: &Entrance) -> Result<(), LaunchError> {
    entrance.join(entrance.directory().is_some()).at(Step::Cgroup, "join")?;
    setsid().map(drop).at(Step::Clone, "session")
}

/// Sets how likely the kernel kills this process for memory. A launcher without `CAP_SYS_RESOURCE` may not make it less
/// likely than its own: then its own value stays.
pub(super) fn oom_score_adj(value: Option<i32>) -> Result<(), LaunchError> {
    let Some(value) = value else { return Ok(()) };
    let file = openat(CWD, c"/proc/self/oom_score_adj", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
        .at(Step::OomScore, "/proc/self/oom_score_adj")?;
    if fstatfs(&file).at(Step::OomScore, "/proc")?.f_type != PROC_SUPER_MAGIC {
        return Err(LaunchError::new(Step::OomScore, "/proc is not procfs"));
    }
    match rustix::io::write(&file, value.to_string().as_bytes()) {
        Ok(_) | Err(Errno::ACCESS) => Ok(()),
        Err(errno) => Err(errno).at(Step::OomScore, value),
    }
}

/// Goes into the pod's network, IPC and UTS namespaces.
pub(in crate::runtime) fn enter(pod: &PodInit) -> Result<(), LaunchError> {
    for (namespace, kind, name) in [
        (&pod.net, LinkNameSpaceType::Network, "net"),
        (&pod.ipc, LinkNameSpaceType::InterProcessCommunication, "ipc"),
        (&pod.uts, LinkNameSpaceType::HostNameAndNISDomainName, "uts"),
    ] {
        if let Some(namespace) = namespace {
            move_into_link_name_space(namespace.as_fd(), Some(kind)).at(Step::Namespace, name)?;
        }
    }
    Ok(())
}

/// Goes into a user namespace, as its root.
pub(super) fn enter_user(namespace: BorrowedFd<'_>) -> Result<(), LaunchError> {
    move_into_link_name_space(namespace, Some(LinkNameSpaceType::User)).at(Step::Namespace, "user")?;
    become_root()
}

/// Becomes root of the user namespace that the process has just gone into.
pub(super) fn become_root() -> Result<(), LaunchError> {
    set_thread_groups(&[]).at(Step::Credentials, "no groups")?;
    set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT).at(Step::Credentials, "gid 0")?;
    set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).at(Step::Credentials, "uid 0")
}

/// Goes into the namespaces of a container's process, of the PID and user namespaces into those that are in `more`: as
/// root of the latter, and of the former it is only the children who are born into it.
pub(super) fn enter_container(process: BorrowedFd<'_>, more: ThreadNameSpaceType) -> Result<(), LaunchError> {
    let kinds = more
        | ThreadNameSpaceType::MOUNT
        | ThreadNameSpaceType::CONTROL_GROUP
        | ThreadNameSpaceType::NETWORK
        | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION
        | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME;
    match move_into_thread_name_spaces(process, kinds) {
        Err(Errno::SRCH) => Err(LaunchError::os(Step::Namespace, "of the container", libc::ESRCH)),
        result => result.at(Step::Namespace, "of the container"),
    }?;
    if more.contains(ThreadNameSpaceType::USER) { become_root() } else { Ok(()) }
}

/// Makes a pod's network, IPC and UTS namespaces.
pub(super) fn new_for_pod(plan: &PodPlan) -> Result<(), LaunchError> {
    let mut flags = CloneFlags::empty();
    flags.set(CloneFlags::CLONE_NEWNET, plan.net);
    flags.set(CloneFlags::CLONE_NEWIPC, plan.ipc);
    flags.set(CloneFlags::CLONE_NEWUTS, plan.uts);
    unshare(flags).at(Step::Namespace, "of the pod")
}

/// Makes the process' cgroup the root of what it sees of cgroups.
pub(super) fn new_cgroup() -> Result<(), LaunchError> {
    unshare(CloneFlags::CLONE_NEWCGROUP).at(Step::Namespace, "cgroup")
}

/// Leaves the launcher's session keyring for an own one; kernels without keyrings have nothing to leave.
pub(super) fn keyring(container: &Id) -> Result<(), LaunchError> {
    let Ok(name) = CString::new(format!("_ses.{container}")) else { return Ok(()) };
    match keyctl::join_session_keyring(&name) {
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => Ok(()),
        result => result.at(Step::Keyring, container.short()),
    }
}
