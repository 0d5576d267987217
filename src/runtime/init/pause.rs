//! Process 1 of a PID namespace that a pod's containers share.

use std::{
    convert::Infallible,
    os::fd::{AsFd as _, BorrowedFd},
};

use nix::sys::{
    signal::{SigSet, Signal},
    signalfd::{SfdFlags, SignalFd},
    wait::{WaitPidFlag, WaitStatus, waitpid},
};
use rustix::{
    fs::Mode,
    mount::{MountAttrFlags, MountPropagationFlags, mount_change},
    process::fchdir,
};

use super::{confine, file_systems, namespaces, rootfs};
use crate::{
    runtime::{
        cgroup::Entrance,
        error::{At as _, LaunchError, Step},
        launch::{Identity, Reporter},
        plan::Confinement,
    },
    sys::{descriptors::close_all_but, exit, mount},
};

/// Nobody's user id, as other engines' pause images use it.
const NOBODY: u32 = 65535;

/// Reaps orphans until it is told to end.
///
/// Containers see this process, so it keeps nothing that they could want: an empty root, no descriptors, no
/// capabilities, no memory that anybody may look into.
pub(in crate::runtime) fn pause(
    entrance: Option<&Entrance>,
    user: Option<BorrowedFd<'_>>,
    reporter: &Reporter,
) -> Result<Infallible, LaunchError> {
    rustix::process::umask(Mode::empty());
    if let Some(entrance) = entrance {
        namespaces::join_cgroup(entrance)?;
    }
    namespaces::oom_score_adj(Some(-998))?;
    if let Some(user) = user {
        namespaces::enter_user(user)?;
        crate::runtime::launch::go_on_as_sibling(libc::CLONE_NEWPID | libc::CLONE_NEWNS, reporter)?;
    }
    rustix::thread::set_name(c"berth:pause").at(Step::Clone, "process name")?;
    let signals = SigSet::from_iter([Signal::SIGCHLD, Signal::SIGTERM]);
    signals.thread_block().at(Step::Clone, "signals")?;
    let signals = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC).at(Step::Clone, "signals")?;
    empty_root()?;
    let nobody = Identity { uid: NOBODY, gid: NOBODY, groups: vec![NOBODY], home: String::new() };
    let nothing = Confinement { no_new_privs: true, ..Confinement::default() };
    confine::become_user(&nobody, &nothing)?;
    confine::restrict(&nothing)?;
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
        .at(Step::Credentials, "not dumpable")?;
    reporter.ready(&nobody, None)?;
    // With the launcher's streams goes the reporter, which says that all is done.
    close_all_but(0, &[signals.as_fd()]).at(Step::Stdio, "close")?;
    wait(&signals)
}

/// Goes to an empty directory that nobody can write to, as the root.
fn empty_root() -> Result<(), LaunchError> {
    mount_change(c"/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).at(Step::Rootfs, "private /")?;
    let empty = file_systems::tmpfs(0o555, None, None, MountAttrFlags::MOUNT_ATTR_RDONLY).at(Step::Rootfs, "tmpfs")?;
    let place = rustix::fs::openat(
        rustix::fs::CWD,
        c"/proc",
        rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC,
        Mode::empty(),
    )
    .at(Step::Rootfs, "/proc")?;
    mount::attach(&empty, place).at(Step::Rootfs, "empty root")?;
    fchdir(&empty).at(Step::Rootfs, "enter")?;
    rootfs::pivot(c".")
}

fn wait(signals: &SignalFd) -> ! {
    loop {
        // Containers' processes may not end the pod: a sender outside the namespace has no id here.
        if let Ok(Some(signal)) = signals.read_signal()
            && signal.ssi_signo == Signal::SIGTERM as u32
            && signal.ssi_pid == 0
        {
            exit::now(0);
        }
        while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            if status == WaitStatus::StillAlive {
                break;
            }
        }
    }
}
