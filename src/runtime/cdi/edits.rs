//! What devices add to a container, with the host's part filled in.

use std::{
    fs,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

use super::{Error, spec};
use crate::{
    runtime::{
        cgroup::Access,
        hooks::{Hook, Phase},
    },
    types::Propagation,
};

/// Permission bits of a node of which nothing else is said.
const NODE_MODE: u32 = 0o666;
/// Hooks that would not be the host's programs.
const IN_CONTAINER: &str = "startContainer";

/// Everything that devices add to a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Edits {
    /// `NAME=value` entries; they win over the container's own.
    pub env: Vec<String>,
    /// Device nodes; they win over the container's own.
    pub devices: Vec<Device>,
    /// Bind mounts; they win over the container's own.
    pub mounts: Vec<Mount>,
    /// Supplemental groups.
    pub groups: Vec<u32>,
    /// Programs of the host to be run on the way.
    pub hooks: Vec<Hook>,
}

/// A device node of the host's for a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Where it appears.
    pub path: String,
    /// The host's node.
    pub host_path: PathBuf,
    /// A block device, else a character device.
    pub block: bool,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner; `None` for the container's user.
    pub uid: Option<u32>,
    /// Group; `None` for the container's group.
    pub gid: Option<u32>,
    /// What may be done with it.
    pub access: Access,
}

/// A file or directory of the host's for a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Mount {
    /// What, on the host; it exists.
    pub source: PathBuf,
    /// Where, in the container.
    pub target: String,
    /// No writes.
    pub readonly: bool,
    /// Also no writes through mounts below it.
    pub recursive_read_only: bool,
    /// Set-user-id bits count for nothing.
    pub nosuid: bool,
    /// Device nodes cannot be opened.
    pub nodev: bool,
    /// Nothing can be executed.
    pub noexec: bool,
    /// Whether later mounts pass between host and container.
    pub propagation: Propagation,
}

impl Edits {
    /// Adds what a specification says for the device called `name`.
    ///
    /// # Errors
    /// When this engine has not what is needed, or the host has not what is named.
    pub(super) fn add(&mut self, name: &str, edits: &spec::ContainerEdits) -> Result<(), Error> {
        let needs =
            [(edits.intel_rdt.is_some(), "Intel RDT classes"), (!edits.net_devices.is_empty(), "network devices")];
        if let Some((_, what)) = needs.into_iter().find(|(needed, _)| *needed) {
            return Err(Error::Unsupported { device: name.to_owned(), what });
        }
        let unusable = |problem| Error::Unusable { device: name.to_owned(), problem };
        environment(&edits.env).map_err(unusable)?;
        self.env.extend(edits.env.iter().cloned());
        for node in &edits.device_nodes {
            self.devices.push(device(node).map_err(unusable)?);
        }
        for wanted in &edits.mounts {
            self.mounts.push(mount(wanted).map_err(unusable)?);
        }
        for wanted in &edits.hooks {
            self.hooks.push(hook(name, wanted)?);
        }
        // Group 0 is what a field that was left empty becomes in some writers.
        self.groups.extend(edits.additional_gids.iter().filter(|&&gid| gid != 0));
        Ok(())
    }
}

fn environment(entries: &[String]) -> Result<(), String> {
    match entries.iter().find(|entry| entry.find('=').is_none_or(|at| at == 0)) {
        Some(entry) => Err(format!("{entry:?} is not like NAME=value")),
        None => Ok(()),
    }
}

fn hook(device: &str, wanted: &spec::Hook) -> Result<Hook, Error> {
    let phase = wanted.hook_name.as_str();
    if phase == IN_CONTAINER {
        let what = "a startContainer hook (a program of the container's own image)";
        return Err(Error::Unsupported { device: device.to_owned(), what });
    }
    let unusable = |problem| Error::Unusable { device: device.to_owned(), problem };
    let known = Phase::ALL.into_iter().find(|known| known.name() == phase);
    let phase = known.ok_or_else(|| unusable(format!("there are no hooks called {phase:?}")))?;
    let path = PathBuf::from(&wanted.path);
    if !path.is_absolute() {
        return Err(unusable(format!("the path of a hook is not absolute: {:?}", wanted.path)));
    }
    environment(&wanted.env).map_err(unusable)?;
    Ok(Hook { phase, path, args: wanted.args.clone(), env: wanted.env.clone(), timeout: wanted.timeout })
}

/// Numbers and type that are not given are those of the host's node.
fn device(node: &spec::DeviceNode) -> Result<Device, String> {
    let host_path = PathBuf::from(if node.host_path.is_empty() { &node.path } else { &node.host_path });
    let kind = node.kind.as_str();
    let (block, major, minor) = match kind {
        "b" | "c" | "u" if node.major != 0 => (kind == "b", node.major, node.minor),
        "" | "b" | "c" | "u" => {
            let found = fs::metadata(&host_path).map_err(|error| format!("{}: {error}", host_path.display()))?;
            let is_block = found.file_type().is_block_device();
            if !is_block && !found.file_type().is_char_device() {
                return Err(format!("{} is not a device", host_path.display()));
            }
            if !kind.is_empty() && (kind == "b") != is_block {
                return Err(format!("{} is not of type {kind:?}", host_path.display()));
            }
            (is_block, rustix::fs::major(found.rdev()), rustix::fs::minor(found.rdev()))
        }
        _ => return Err(format!("device type {kind:?} is neither \"b\" nor \"c\"")),
    };
    let letters = node.permissions.as_str();
    let access = match letters {
        "" => Access::ALL,
        _ => Access::parse(letters).ok_or_else(|| format!("permissions {letters:?} are not some of r, w and m"))?,
    };
    Ok(Device {
        path: node.path.clone(),
        host_path,
        block,
        major,
        minor,
        mode: node.file_mode.unwrap_or(NODE_MODE) & 0o777,
        uid: node.uid,
        gid: node.gid,
        access,
    })
}

fn mount(wanted: &spec::Mount) -> Result<Mount, String> {
    if !matches!(wanted.kind.as_str(), "" | "bind" | "none") {
        return Err(format!(
            "a mount of type {:?} on {}; only bind mounts are made",
            wanted.kind, wanted.container_path
        ));
    }
    let source = PathBuf::from(&wanted.host_path);
    fs::metadata(&source).map_err(|error| format!("{}: {error}", source.display()))?;
    let mut mount = Mount { source, target: wanted.container_path.clone(), ..Mount::default() };
    for option in &wanted.options {
        match option.as_str() {
            "bind" | "rbind" | "rw" | "suid" | "dev" | "exec" | "private" | "rprivate" => {}
            "ro" => mount.readonly = true,
            "rro" => (mount.readonly, mount.recursive_read_only) = (true, true),
            "nosuid" => mount.nosuid = true,
            "nodev" => mount.nodev = true,
            "noexec" => mount.noexec = true,
            "slave" | "rslave" => mount.propagation = Propagation::HostToContainer,
            "shared" | "rshared" => mount.propagation = Propagation::Bidirectional,
            _ => return Err(format!("mount option {option:?} on {} is not known", wanted.container_path)),
        }
    }
    Ok(mount)
}
