//! Device nodes and the links of `/dev`.

use std::{os::fd::OwnedFd, path::Path};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, chownat, makedev, mknodat, symlinkat},
    io::Errno,
    process::{Gid, Uid},
};

use crate::{
    runtime::{
        error::{At as _, LaunchError, Step},
        plan::{ContainerPlan, DeviceNode, MountSource},
    },
    sys::{
        mount,
        openat2::{Missing, Root},
    },
};

/// Links that programs expect in `/dev`.
const LINKS: [(&str, &str); 6] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("/proc/kcore", "core"),
    ("pts/ptmx", "ptmx"),
];

/// Copies the host's nodes for a container in a user namespace, which may not make any.
pub(super) fn prepare(plan: &ContainerPlan, user_namespace: bool) -> Result<Option<Vec<OwnedFd>>, LaunchError> {
    if !user_namespace || !is_ours(plan) {
        return Ok(None);
    }
    let copy = |node: &DeviceNode| {
        mount::clone_path(node.host_path.as_path(), false).at(Step::Device, node.host_path.display())
    };
    plan.devices.iter().map(copy).collect::<Result<_, _>>().map(Some)
}

/// Makes the nodes and links, unless the container has asked for another `/dev`.
pub(super) fn make(plan: &ContainerPlan, root: &Root, copies: Option<Vec<OwnedFd>>) -> Result<(), LaunchError> {
    if !is_ours(plan) {
        return Ok(());
    }
    let dev = root.open("/dev", OFlags::PATH).at(Step::Device, "/dev")?;
    match copies {
        Some(copies) => {
            for (node, copy) in plan.devices.iter().zip(copies) {
                let place = root.make(&node.path, Missing::File).at(Step::Device, node.path.display())?;
                mount::attach(&copy, place).at(Step::Device, node.path.display())?;
            }
        }
        None => {
            for node in &plan.devices {
                make_node(node, root, &dev)?;
            }
        }
    }
    for (target, name) in LINKS {
        match symlinkat(target, &dev, name) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno).at(Step::Device, format_args!("/dev/{name}")),
        }
    }
    Ok(())
}

/// Whether `/dev` is the one that every container gets.
fn is_ours(plan: &ContainerPlan) -> bool {
    plan.mounts.iter().any(|mount| mount.target == "/dev" && matches!(mount.source, MountSource::Tmpfs { .. }))
}

fn make_node(node: &DeviceNode, root: &Root, dev: &OwnedFd) -> Result<(), LaunchError> {
    let path = &node.path;
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(LaunchError::new(Step::Device, format!("{}: no name", path.display())));
    };
    let other;
    let directory = if parent == Path::new("/dev") {
        dev
    } else {
        other = root.make(parent, Missing::Directory).at(Step::Device, parent.display())?;
        &other
    };
    let kind = if node.block { FileType::BlockDevice } else { FileType::CharacterDevice };
    match mknodat(directory, name, kind, Mode::from_raw_mode(node.mode), makedev(node.major, node.minor)) {
        Ok(()) => {}
        // A mount of the container is there.
        Err(Errno::EXIST) => return Ok(()),
        Err(errno) => return Err(errno).at(Step::Device, path.display()),
    }
    if node.uid != 0 || node.gid != 0 {
        let (uid, gid) = (Uid::from_raw(node.uid), Gid::from_raw(node.gid));
        chownat(directory, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
            .at(Step::Device, format_args!("owner of {}", path.display()))?;
    }
    Ok(())
}
