//! Device nodes of containers.

use std::{
    fs,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{ContainerRequest, GroupPlan, HostFacts, UserPlan};
use crate::runtime::{
    cdi,
    cgroup::{Access, DeviceKind, DeviceRule},
    error::PlanError,
    validate,
};

/// Entries of `/dev` that are no devices for containers, or that every container has its own of.
const SKIPPED_DIRECTORIES: [&str; 6] = ["pts", "shm", "fd", "mqueue", ".lxc", ".udev"];
const SKIPPED_FILES: [&str; 1] = ["console"];
/// Most nodes below one requested directory.
const MAX_NODES: usize = 4096;

/// A device node in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceNode {
    /// Where it appears.
    pub path: PathBuf,
    /// The host's node, for containers that may not make nodes and get it bind-mounted.
    pub host_path: PathBuf,
    /// A block device, else a character device.
    pub block: bool,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// The nodes that every container has, beside the links and what is mounted.
const DEFAULT: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

fn defaults(host: &HostFacts) -> impl Iterator<Item = DeviceNode> {
    DEFAULT.iter().map(|&(name, major, minor)| DeviceNode {
        path: Path::new("/dev").join(name),
        host_path: host.dev.join(name),
        block: false,
        major,
        minor,
        mode: 0o666,
        uid: 0,
        gid: 0,
    })
}

/// Decides a container's device nodes and the rules for their use.
///
/// # Errors
/// Host paths that are no devices, permissions that are none.
pub(super) fn plan(
    request: &ContainerRequest<'_>,
    user: &UserPlan,
    groups: &GroupPlan,
) -> Result<(Vec<DeviceNode>, Vec<DeviceRule>), PlanError> {
    let mut nodes: Vec<DeviceNode> = defaults(request.host).collect();
    let cdi = request.cdi.devices.iter().map(|device| Ok((from_cdi(device, user, groups)?, device.access)));
    let cdi: Vec<(DeviceNode, Access)> = cdi.collect::<Result<_, PlanError>>()?;
    if request.config.security.privileged {
        add(&mut nodes, request.host.all_devices()?);
        add(&mut nodes, cdi.into_iter().map(|(node, _)| node).collect());
        return Ok((nodes, vec![DeviceRule::ALL]));
    }
    let mut rules = DeviceRule::defaults();
    for device in &request.config.devices {
        validate::absolute("device", &device.host_path)?;
        validate::absolute("device", &device.container_path)?;
        let access = match device.permissions.as_str() {
            "" => Access::ALL,
            letters => Access::parse(letters).ok_or_else(|| PlanError::InvalidDevicePermissions(letters.to_owned()))?,
        };
        let found = find(Path::new(&device.host_path), Path::new(&device.container_path), false)?;
        rules.extend(found.iter().map(|node| rule(node, access)));
        add(&mut nodes, found);
    }
    rules.extend(cdi.iter().map(|(node, access)| rule(node, *access)));
    add(&mut nodes, cdi.into_iter().map(|(node, _)| node).collect());
    Ok((nodes, rules))
}

/// A node that a CDI device brings. Without an owner of its own it is the container's user's, as far as that is a number.
fn from_cdi(device: &cdi::Device, user: &UserPlan, groups: &GroupPlan) -> Result<DeviceNode, PlanError> {
    validate::absolute("device", &device.path)?;
    let number = |plan: Option<&UserPlan>| match plan {
        Some(UserPlan::Id(id)) => *id,
        _ => 0,
    };
    Ok(DeviceNode {
        path: PathBuf::from(&device.path),
        host_path: device.host_path.clone(),
        block: device.block,
        major: device.major,
        minor: device.minor,
        mode: device.mode,
        uid: device.uid.unwrap_or_else(|| number(Some(user))),
        gid: device.gid.unwrap_or_else(|| number(groups.primary.as_ref())),
    })
}

/// Later nodes replace earlier ones of the same path.
fn add(nodes: &mut Vec<DeviceNode>, more: Vec<DeviceNode>) {
    for node in more {
        match nodes.iter_mut().find(|old| old.path == node.path) {
            Some(old) => *old = node,
            None => nodes.push(node),
        }
    }
}

fn rule(node: &DeviceNode, access: Access) -> DeviceRule {
    let kind = if node.block { DeviceKind::Block } else { DeviceKind::Char };
    DeviceRule { kind, major: Some(node.major), minor: Some(node.minor), access }
}

/// The device node at `host`, or those anywhere below the directory `host`, to appear at `container`.
///
/// Links to a device are followed when they are asked for, not when they are met in a directory. With `skip`, what
/// containers have their own of is left out.
pub(super) fn find(host: &Path, container: &Path, skip: bool) -> Result<Vec<DeviceNode>, PlanError> {
    let failed = |source| PlanError::Host { what: host.display().to_string(), source };
    let metadata = fs::metadata(host).map_err(failed)?;
    let mut found = Vec::new();
    if metadata.is_dir() {
        walk(host, container, skip, &mut found)?;
    } else if let Some(node) = node(host, container, &metadata) {
        found.push(node);
    } else {
        return Err(PlanError::NotADevice(host.to_owned()));
    }
    Ok(found)
}

fn walk(host: &Path, container: &Path, skip: bool, found: &mut Vec<DeviceNode>) -> Result<(), PlanError> {
    let failed = |source| PlanError::Host { what: host.display().to_string(), source };
    for entry in fs::read_dir(host).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let (from, to) = (entry.path(), container.join(&name));
        // A device may go away while we look.
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_dir() {
            if !SKIPPED_DIRECTORIES.iter().any(|skipped| name == *skipped) {
                walk(&from, &to, skip, found)?;
            }
        } else if let Some(node) = node(&from, &to, &metadata)
            && !(skip && SKIPPED_FILES.iter().any(|skipped| name == *skipped))
        {
            found.push(node);
        }
        if found.len() > MAX_NODES {
            return Err(PlanError::TooManyDevices(host.to_owned()));
        }
    }
    Ok(())
}

fn node(host: &Path, container: &Path, metadata: &fs::Metadata) -> Option<DeviceNode> {
    let kind = metadata.file_type();
    (kind.is_block_device() || kind.is_char_device()).then(|| DeviceNode {
        path: container.to_owned(),
        host_path: host.to_owned(),
        block: kind.is_block_device(),
        major: rustix::fs::major(metadata.rdev()),
        minor: rustix::fs::minor(metadata.rdev()),
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
    })
}
