//! What a new process does until it is the container's program.
//!
//! - **Owns:** the steps, a file for each, and their order.
//! - **Never:** decides anything that a plan can, writes to a path inside a container by its name, or logs.
//! - **Runs in:** the new process itself. It ends in `execve` or in a reported error.
//! - **Start reading at:** [`container`].

mod confine;
mod console;
mod devices;
mod execute;
mod file_systems;
#[cfg(any(test, feature = "fuzzing"))]
mod fuzz;
mod hooks;
mod identity;
mod mask;
pub(super) mod mounts;
mod namespaces;
mod pause;
mod restore;
mod rootfs;
mod sysctl;

use std::{
    convert::Infallible,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{fs::Mode, thread::ThreadNameSpaceType};

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use fuzz::passwd as fuzz_passwd;
pub(super) use hooks::hooks;
pub(super) use namespaces::enter as enter_namespaces;
pub(super) use pause::pause;
pub(super) use restore::restore;

use super::{
    cgroup::Entrance,
    error::{At as _, LaunchError, Step},
    launch::{Identity, PodInit, Reporter, Stdio, Target},
    plan::{Confinement, ContainerPlan, ExecPlan, PidNamespace, PodPlan, ProcessPlan},
};
use crate::sys::{descriptors::close_all_but, openat2::Root};

/// Becomes a container's main process. It starts in a mount namespace of its own, still a copy of the host's.
pub(super) fn container(
    plan: &ContainerPlan,
    pod: &PodInit,
    stdio: Stdio,
    entrance: &Entrance,
    reporter: &Reporter,
) -> Result<Infallible, LaunchError> {
    keep_own(reporter, &stdio, entrance, pod.descriptors())?;
    // Modes are given in full; the program gets the usual mask at the end.
    rustix::process::umask(Mode::empty());
    namespaces::join_cgroup(entrance)?;
    // These need the host's /proc, and privileges over the host.
    namespaces::oom_score_adj(plan.oom_score_adj)?;
    confine::label(&plan.confinement)?;
    // While the mounts are still the host's peers: propagation both ways needs copies of shared mounts. Sources are
    // looked up on the host, and id-mapping needs privileges over their file systems.
    let user = pod.user.as_ref().map(AsFd::as_fd);
    let sources = mounts::prepare(plan, user)?;
    let devices = devices::prepare(plan, user.is_some())?;
    // From here on nothing that is mounted here is seen on the host, and the other way round.
    mounts::make_private()?;
    let image = rootfs::prepare(plan, user)?;
    let images = mounts::prepare_images(plan, user)?;
    let null = mask::prepare(plan)?;

    namespaces::enter(pod)?;
    if let Some(user) = user {
        namespaces::enter_user(user)?;
        // proc, and mounts of the container's own, need PID and mount namespaces that belong to the user namespace.
        let own_pid = if plan.pid == PidNamespace::Own { libc::CLONE_NEWPID } else { 0 };
        super::launch::go_on_as_sibling(libc::CLONE_NEWNS | own_pid, reporter)?;
    }
    // After the cgroup was joined: its place becomes the root of what is seen.
    namespaces::new_cgroup()?;

    let root = rootfs::attach(image, &plan.mountpoint)?;
    // Before anything is mounted: the image's users count, not those of a volume.
    let user = identity::resolve(&root, &plan.user, &plan.groups)?;
    mounts::attach(plan, &root, sources, images)?;
    devices::make(plan, &root, devices)?;
    let terminal = match stdio {
        Stdio::Terminal => Some(console::open(&root)?),
        Stdio::Pipes { .. } => None,
    };
    if let Some(terminal) = &terminal {
        console::mount(terminal, &root)?;
    }
    if plan.hooks.as_ref().is_some_and(super::launch::wants_assembled) {
        reporter.assembled()?;
    }
    mask::apply(plan, &root, null)?;
    rootfs::finish(plan, root)?;
    namespaces::keyring(&plan.id)?;
    let birth = Birth::Before;
    become_program(&plan.process, &plan.confinement, &user, stdio, terminal, birth, reporter)
}

/// Becomes another process of a running container.
pub(super) fn exec(
    plan: &ExecPlan,
    target: &Target<'_>,
    stdio: Stdio,
    entrance: &Entrance,
    reporter: &Reporter,
) -> Result<Infallible, LaunchError> {
    keep_own(reporter, &stdio, entrance, [target.pidfd].into_iter())?;
    rustix::process::umask(Mode::empty());
    namespaces::join_cgroup(entrance)?;
    namespaces::oom_score_adj(plan.oom_score_adj)?;
    confine::label(&plan.confinement)?;
    let mut more = ThreadNameSpaceType::PROCESS_ID;
    more.set(ThreadNameSpaceType::USER, plan.user_namespace);
    namespaces::enter_container(target.pidfd, more)?;
    let terminal = match stdio {
        Stdio::Terminal => Some(console::open(&Root::open_host("/").at(Step::Rootfs, "/")?)?),
        Stdio::Pipes { .. } => None,
    };
    become_program(&plan.process, &plan.confinement, target.user, stdio, terminal, Birth::Last, reporter)
}

/// Closes what is the launcher's alone. A process that hangs here, as on a mount source whose server does not answer,
/// must not keep the launcher's connections open, by which others see that it lives.
fn keep_own<'a>(
    reporter: &'a Reporter,
    stdio: &'a Stdio,
    entrance: &'a Entrance,
    namespaces: impl Iterator<Item = BorrowedFd<'a>>,
) -> Result<(), LaunchError> {
    let own = [reporter.as_fd()].into_iter().chain(stdio.descriptors()).chain(entrance.descriptors()).chain(namespaces);
    close_all_but(3, &own.collect::<Vec<_>>()).at(Step::Stdio, "close the launcher's descriptors")
}

/// When a process comes into the PID namespace in which its container's processes see it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Birth {
    /// It is there already. The container's first process has nobody to fear but those that it shares the namespace with.
    Before,
    /// With its last steps. Processes of the container that may trace others (`CAP_SYS_PTRACE`) never see it with the
    /// host's root, descriptors or capabilities.
    Last,
}

/// The rest, the same for both: nothing of the host is in reach any more.
fn become_program(
    process: &ProcessPlan,
    confinement: &Confinement,
    user: &Identity,
    stdio: Stdio,
    terminal: Option<console::Terminal>,
    birth: Birth,
    reporter: &Reporter,
) -> Result<Infallible, LaunchError> {
    let console: Option<OwnedFd> = execute::stdio(stdio, terminal, user)?;
    // Directories of the host that are still open here could be reached through /proc/self/fd by the working directory
    // or the program's path (CVE-2024-21626).
    execute::close_others(reporter, console.as_ref())?;
    let in_place = execute::change_directory(&process.cwd)?;
    confine::become_user(user, confinement)?;
    if !in_place {
        execute::change_directory_as_user(&process.cwd)?;
    }
    let program = execute::Program::find(process, user)?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    if birth == Birth::Last {
        super::launch::go_on_as_sibling(0, reporter)?;
    }
    if console.is_some() {
        execute::control_terminal()?;
    }
    // The filter may not allow any of this.
    reporter.ready(user, console.as_ref().map(AsFd::as_fd))?;
    drop(console);
    confine::restrict(confinement)?;
    program.execute()
}

/// Makes a pod's user namespace and those that belong to it, and waits until the launcher holds them.
pub(super) fn pod(plan: &PodPlan, reporter: &Reporter) -> Result<Infallible, LaunchError> {
    reporter.wait_for_maps()?;
    namespaces::become_root()?;
    // By the root of the user namespace, so that they are its own.
    pod_namespaces(plan)?;
    reporter.ready(&Identity::default(), None)?;
    reporter.wait_for_end()?;
    crate::sys::exit::now(0)
}

/// Goes into new network, IPC and UTS namespaces of a pod and sets them up.
pub(super) fn pod_namespaces(plan: &PodPlan) -> Result<(), LaunchError> {
    namespaces::new_for_pod(plan)?;
    if plan.uts {
        nix::unistd::sethostname(&plan.hostname).at(Step::Hostname, &plan.hostname)?;
    }
    if plan.net {
        crate::sys::link::loopback_up().at(Step::Loopback, "lo")?;
    }
    sysctl::apply(&plan.sysctls)
}
