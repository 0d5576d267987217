//! Launching a pod.

use std::{
    fs::{self, DirBuilder},
    io::{self, Write as _},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::DirBuilderExt as _,
    },
    path::Path,
    time::Instant,
};

use rustix::{
    fs::{CWD, Mode, OFlags, openat},
    mount::MountAttrFlags,
};

use super::{
    Child, DEADLINE, PodInit, Reporter, cgroup_error, child, hierarchy,
    parent::{self, kill, reap},
    pin::{self, NAMESPACES, unpin},
    protocol::{self, Conversation, Heard},
};
use crate::{
    runtime::{
        cgroup::Limits,
        error::{At as _, LaunchError, Step},
        init,
        plan::{PodPlan, UserMaps},
    },
    sys::{
        clone3::Clone3,
        mount::{self, FileSystem},
    },
    types::IdMapping,
};

/// Size of a pod's shared memory, bytes.
const SHM_SIZE: u64 = 64 << 20;

/// Makes a pod's namespaces, names them below the pod's directory (`ns/net`, `ns/ipc`, `ns/uts`, `ns/user`), sets them
/// up, mounts the pod's `shm` and starts the init of a shared PID namespace.
///
/// # Errors
/// On failure nothing is left behind.
pub fn pod(plan: &PodPlan) -> Result<PodInit, LaunchError> {
    let made = make(plan);
    if made.is_err() {
        // The first error is the one to tell.
        let _ = unpin(&plan.dir);
    }
    made
}

fn make(plan: &PodPlan) -> Result<PodInit, LaunchError> {
    let mut pod = namespaces(plan)?;
    if plan.ipc {
        shm(plan)?;
    }
    if plan.shared_pid {
        pod.init = Some(start_init(plan, &pod)?);
    }
    Ok(pod)
}

fn namespaces(plan: &PodPlan) -> Result<PodInit, LaunchError> {
    let own = [plan.net, plan.ipc, plan.uts, plan.user.is_some()];
    let [net, ipc, uts, user] = match own {
        [false, false, false, false] => [const { None }; 4],
        [_, _, _, false] => in_passing(plan, own)?,
        [_, _, _, true] => by_a_process(plan, own)?,
    };
    Ok(PodInit { net, ipc, uts, user, init: None })
}

/// Makes the namespaces by going into them and back: no other process has to be waited for, which takes longer than
/// all that happens in them.
fn in_passing(plan: &PodPlan, own: [bool; 4]) -> Result<[Option<OwnedFd>; 4], LaunchError> {
    let [net, ipc, uts, user] = open_all("thread-self", own)?;
    let home = PodInit { net, ipc, uts, user, init: None };
    let made = init::pod_namespaces(plan).and_then(|()| open_all("thread-self", own));
    init::enter_namespaces(&home)?;
    let made = made?;
    name_all(&plan.dir, &made)?;
    Ok(made)
}

/// Makes the namespaces by a process that lives until they are held: the launcher itself cannot come back from a user
/// namespace.
fn by_a_process(plan: &PodPlan, own: [bool; 4]) -> Result<[Option<OwnedFd>; 4], LaunchError> {
    let ends = protocol::pair(Instant::now() + DEADLINE)?;
    let clone = Clone3 { flags: libc::CLONE_NEWUSER, cgroup: None };
    let (child, mut conversation) = child::spawn(&clone, ends, |reporter| init::pod(plan, reporter))?;
    let opened = set_up(plan, &child, &mut conversation).and_then(|()| open_all(&child.pid.to_string(), own));
    // Its work is done, or has failed.
    drop(conversation);
    if opened.is_err() {
        kill(&child);
    }
    reap(&child);
    let opened = opened?;
    name_all(&plan.dir, &opened)?;
    Ok(opened)
}

fn set_up(plan: &PodPlan, child: &Child, conversation: &mut Conversation) -> Result<(), LaunchError> {
    let Heard::Unmapped = conversation.next()? else {
        return Err(LaunchError::new(Step::Protocol, "the pod's process did not ask for its id maps"));
    };
    if let Some(maps) = &plan.user {
        write_maps(child.pid, maps)?;
    }
    conversation.mapped()?;
    match conversation.next()? {
        Heard::Ready { .. } => Ok(()),
        _ => Err(LaunchError::new(Step::Protocol, "the pod's process was not ready")),
    }
}

fn write_maps(pid: i32, maps: &UserMaps) -> Result<(), LaunchError> {
    for (name, map) in [("uid_map", &maps.uids), ("gid_map", &maps.gids)] {
        let line = |map: &IdMapping| format!("{} {} {}\n", map.container_id, map.host_id, map.length);
        let path = format!("/proc/{pid}/{name}");
        // The kernel takes a map in one write.
        let text: String = map.iter().map(line).collect();
        fs::OpenOptions::new()
            .write(true)
            .open(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .at(Step::IdMap, name)?;
    }
    Ok(())
}

/// Opens those namespaces of a process, named as in `/proc`, that the pod has of its own.
fn open_all(process: &str, own: [bool; 4]) -> Result<[Option<OwnedFd>; 4], LaunchError> {
    let mut opened = [const { None }; 4];
    for ((slot, name), _) in opened.iter_mut().zip(NAMESPACES).zip(own).filter(|(_, own)| *own) {
        let path = format!("/proc/{process}/ns/{name}");
        *slot = Some(openat(CWD, &path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).at(Step::Pin, &path)?);
    }
    Ok(opened)
}

/// Names the namespaces below the pod's directory.
fn name_all(dir: &Path, opened: &[Option<OwnedFd>; 4]) -> Result<(), LaunchError> {
    make_directory(&dir.join("ns"))?;
    for (namespace, name) in opened.iter().zip(NAMESPACES) {
        if let Some(namespace) = namespace {
            pin::name(dir, name, namespace)?;
        }
    }
    Ok(())
}

fn make_directory(path: &Path) -> Result<(), LaunchError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.at(Step::Pin, path.display()),
    }
}

/// Mounts the pod's shared memory: for everybody in the pod, on the host's side of a pod directory that only root
/// enters.
fn shm(plan: &PodPlan) -> Result<(), LaunchError> {
    let path = plan.dir.join("shm");
    make_directory(&path)?;
    let make = || {
        let tmpfs = FileSystem::new("tmpfs")?;
        tmpfs.string("mode", "1777")?.string("size", SHM_SIZE.to_string())?;
        if let Some(maps) = &plan.user {
            let (uid, gid) = maps.root();
            tmpfs.string("uid", uid.to_string())?.string("gid", gid.to_string())?;
        }
        let flags =
            MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        let tree = tmpfs.mount(flags)?;
        let place = openat(CWD, &path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        mount::attach(&tree, &place)
    };
    make().at(Step::Pin, path.display())
}

/// Starts the process 1 of a PID namespace that the containers will share.
fn start_init(plan: &PodPlan, pod: &PodInit) -> Result<Child, LaunchError> {
    let cgroup = match &plan.cgroup {
        Some(path) => Some(hierarchy()?.create(path, &Limits::default()).map_err(cgroup_error)?),
        None => None,
    };
    let user = pod.user.as_ref().map(|user| user.as_fd());
    let own = if user.is_none() { libc::CLONE_NEWPID | libc::CLONE_NEWNS } else { 0 };
    let start = || {
        let entrance = cgroup.as_ref().map(|cgroup| cgroup.entrance()).transpose().map_err(cgroup_error)?;
        let directory = entrance.as_ref().and_then(|entrance| entrance.directory());
        let clone = Clone3 { flags: own, cgroup: directory };
        parent::launch(&clone, None, |reporter: &Reporter| init::pause(entrance.as_ref(), user, reporter))
    };
    match start() {
        Ok(launched) => Ok(Child { pid: launched.pid, pidfd: launched.pidfd }),
        Err(error) => {
            let _ = cgroup.map(|cgroup| cgroup.remove());
            Err(error)
        }
    }
}
