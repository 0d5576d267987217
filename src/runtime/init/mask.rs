//! Paths that show nothing, and paths that cannot be written.

use std::os::fd::OwnedFd;

use rustix::{
    fs::{FileType, OFlags, fstat, makedev},
    io::Errno,
    mount::MountAttrFlags,
};

use super::file_systems;
use crate::{
    runtime::{
        error::{At as _, LaunchError, Step},
        plan::ContainerPlan,
    },
    sys::{mount, mount_attr::Attributes, openat2::Root},
};

const NULL: &str = "/dev/null";

/// Takes the host's null device, if there is anything to mask. Not the container's: another container that shares a
/// volume could exchange that one (CVE-2025-31133).
pub(super) fn prepare(plan: &ContainerPlan) -> Result<Option<OwnedFd>, LaunchError> {
    if plan.masked_paths.is_empty() {
        return Ok(None);
    }
    let null = mount::clone_path(NULL, false).at(Step::Mask, NULL)?;
    let found = fstat(&null).at(Step::Mask, NULL)?;
    if !FileType::from_raw_mode(found.st_mode).is_char_device() || found.st_rdev != makedev(1, 3) {
        return Err(LaunchError::new(Step::Mask, format!("{NULL} is not the null device")));
    }
    Ok(Some(null))
}

/// Masks, and makes read-only. Paths that do not exist need neither.
pub(super) fn apply(plan: &ContainerPlan, root: &Root, null: Option<OwnedFd>) -> Result<(), LaunchError> {
    for path in &plan.readonly_paths {
        let Some(place) = existing(root, path)? else { continue };
        let tree = mount::clone_fd(&place, true).at(Step::Mask, path)?;
        Attributes { set: libc::MOUNT_ATTR_RDONLY, ..Attributes::default() }
            .apply(&tree, false)
            .at(Step::Mask, path)?;
        mount::attach(&tree, &place).at(Step::Mask, path)?;
    }
    if let Some(null) = null {
        let mut masks = Masks { null: Mask { tree: null, used: false }, empty: None };
        for path in &plan.masked_paths {
            if let Some(place) = existing(root, path)? {
                masks.put(&place, plan.mount_label.as_deref()).at(Step::Mask, path)?;
            }
        }
    }
    Ok(())
}

fn existing(root: &Root, path: &str) -> Result<Option<OwnedFd>, LaunchError> {
    match root.open(path, OFlags::PATH) {
        Ok(place) => Ok(Some(place)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(errno).at(Step::Mask, path),
    }
}

/// What is mounted over masked paths.
struct Masks {
    null: Mask,
    empty: Option<Mask>,
}

/// The first use is the mount itself, each further one a copy of it: copies of a mount that is nowhere yet need Linux
/// 6.15.
struct Mask {
    tree: OwnedFd,
    used: bool,
}

impl Masks {
    fn put(&mut self, place: &OwnedFd, label: Option<&str>) -> rustix::io::Result<()> {
        if !FileType::from_raw_mode(fstat(place)?.st_mode).is_dir() {
            return self.null.put(place);
        }
        if self.empty.is_none() {
            let tree = file_systems::tmpfs(0o755, None, label, MountAttrFlags::MOUNT_ATTR_RDONLY)?;
            self.empty = Some(Mask { tree, used: false });
        }
        self.empty.as_mut().map_or(Ok(()), |empty| empty.put(place))
    }
}

impl Mask {
    fn put(&mut self, place: &OwnedFd) -> rustix::io::Result<()> {
        if self.used {
            return mount::attach(mount::clone_fd(&self.tree, false)?, place);
        }
        self.used = true;
        mount::attach(&self.tree, place)
    }
}
