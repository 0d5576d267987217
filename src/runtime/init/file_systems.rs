//! File systems that are made for the container: proc, sysfs, tmpfs, devpts, mqueue, cgroup.

use std::os::fd::{AsFd as _, OwnedFd};

use rustix::{
    fs::{Mode, OFlags, mkdirat, openat, symlinkat},
    io::Errno,
    mount::MountAttrFlags,
};

use crate::{
    runtime::{
        error::{At as _, LaunchError, Step},
        plan::{MountFlags, MountSource, ReadOnly},
    },
    sys::{
        mount::{self, FileSystem},
        mount_attr::Attributes,
        openat2::{Missing, Root},
    },
};

/// The kernel's words for a plan's flags.
pub(super) fn attributes(flags: MountFlags) -> MountAttrFlags {
    let mut attributes = MountAttrFlags::empty();
    attributes.set(MountAttrFlags::MOUNT_ATTR_RDONLY, flags.readonly != ReadOnly::No);
    attributes.set(MountAttrFlags::MOUNT_ATTR_NOSUID, flags.nosuid);
    attributes.set(MountAttrFlags::MOUNT_ATTR_NODEV, flags.nodev);
    attributes.set(MountAttrFlags::MOUNT_ATTR_NOEXEC, flags.noexec);
    attributes
}

/// Makes one of these file systems and mounts it at `target`.
pub(super) fn mount(
    root: &Root,
    target: &str,
    source: &MountSource,
    flags: MountFlags,
    label: Option<&str>,
) -> Result<(), LaunchError> {
    let attributes = attributes(flags);
    let make = |kind: &str| FileSystem::new(kind).and_then(|fs| fs.mount(attributes)).at(Step::Mount, target);
    let tree = match source {
        // An image in which these are links could show the container's own files where the kernel's are expected
        // (CVE-2019-19921).
        MountSource::Proc => return attach_strictly(root, target, &make("proc")?),
        MountSource::Sysfs => return attach_strictly(root, target, &make("sysfs")?),
        MountSource::Mqueue => make("mqueue")?,
        MountSource::Devpts => devpts(attributes).at(Step::Mount, target)?,
        MountSource::Tmpfs { mode, size } => tmpfs(*mode, *size, label, attributes).at(Step::Mount, target)?,
        MountSource::Cgroup { hierarchies } if hierarchies.is_empty() => make("cgroup2")?,
        MountSource::Cgroup { hierarchies } => return cgroup_v1(root, target, hierarchies, flags),
        MountSource::Bind(_) | MountSource::Image { .. } => {
            return Err(LaunchError::new(Step::Mount, format!("{target}: its source was not prepared")));
        }
    };
    attach(root, target, &tree)
}

fn attach(root: &Root, target: &str, tree: &OwnedFd) -> Result<(), LaunchError> {
    let place = root.make(target, Missing::Directory).at(Step::Mount, target)?;
    mount::attach(tree, place).at(Step::Mount, target)
}

fn attach_strictly(root: &Root, target: &str, tree: &OwnedFd) -> Result<(), LaunchError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    let place = match root.open_strict(target, flags) {
        Err(Errno::NOENT) => {
            root.make(target, Missing::Directory).at(Step::Mount, target)?;
            root.open_strict(target, flags)
        }
        place => place,
    };
    mount::attach(tree, place.at(Step::Mount, target)?).at(Step::Mount, target)
}

/// Memory, with mode and size.
pub(super) fn tmpfs(
    mode: u32,
    size: Option<u64>,
    label: Option<&str>,
    attributes: MountAttrFlags,
) -> rustix::io::Result<OwnedFd> {
    let tmpfs = FileSystem::new("tmpfs")?;
    tmpfs.string("mode", format!("{mode:o}"))?;
    if let Some(size) = size {
        tmpfs.string("size", size.to_string())?;
    }
    if let Some(label) = label {
        tmpfs.string("context", label)?;
    }
    tmpfs.mount(attributes)
}

/// Pseudo-terminals of the container's own, for everybody, and with the group `tty` as their group.
fn devpts(attributes: MountAttrFlags) -> rustix::io::Result<OwnedFd> {
    let devpts = FileSystem::new("devpts")?;
    devpts.flag("newinstance")?.string("ptmxmode", "0666")?.string("mode", "0620")?.string("gid", "5")?;
    devpts.mount(attributes)
}

/// The v1 hierarchies, each on a directory of a tmpfs.
fn cgroup_v1(root: &Root, target: &str, hierarchies: &[String], flags: MountFlags) -> Result<(), LaunchError> {
    let attributes = attributes(flags);
    let writable = MountFlags { readonly: ReadOnly::No, ..flags };
    let tmpfs = tmpfs(0o755, None, None, self::attributes(writable)).at(Step::Mount, target)?;
    attach(root, target, &tmpfs)?;
    for controllers in hierarchies {
        let name = controllers.strip_prefix("name=").unwrap_or(controllers);
        let hierarchy = hierarchy(controllers, attributes).at(Step::Mount, format_args!("{target}/{name}"))?;
        mkdirat(&tmpfs, name, Mode::from_raw_mode(0o755)).at(Step::Mount, name)?;
        let place = openat(&tmpfs, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).at(Step::Mount, name)?;
        mount::attach(&hierarchy, place).at(Step::Mount, format_args!("{target}/{name}"))?;
        if name.contains(',') {
            for controller in name.split(',') {
                symlinkat(name, &tmpfs, controller).at(Step::Mount, controller)?;
            }
        }
    }
    if flags.readonly != ReadOnly::No {
        Attributes { set: libc::MOUNT_ATTR_RDONLY, ..Attributes::default() }
            .apply(tmpfs.as_fd(), false)
            .at(Step::Mount, target)?;
    }
    Ok(())
}

fn hierarchy(controllers: &str, attributes: MountAttrFlags) -> rustix::io::Result<OwnedFd> {
    let cgroup = FileSystem::new("cgroup")?;
    match controllers.strip_prefix("name=") {
        Some(name) => {
            cgroup.flag("none")?.string("name", name)?;
        }
        None => {
            for controller in controllers.split(',') {
                cgroup.flag(controller)?;
            }
        }
    }
    cgroup.mount(attributes)
}
