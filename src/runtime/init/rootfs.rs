//! The root file system.

use std::{
    ffi::CStr,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, Mode, OFlags, openat},
    io::Errno,
    mount::{MountAttrFlags, MountFlags, UnmountFlags},
    process::{chdir, fchdir, pivot_root},
};

use crate::{
    runtime::{
        error::{At as _, LaunchError, Step},
        plan::ContainerPlan,
    },
    sys::{
        mount::{self, FileSystem},
        mount_attr::Attributes,
        openat2::Root,
    },
};

/// Layers of an overlay.
pub(super) struct Layers<'a> {
    /// Read-only ones, top layer first.
    pub(super) lower: &'a [PathBuf],
    /// Writable one and scratch directory.
    pub(super) upper: Option<(&'a Path, &'a Path)>,
}

/// Makes the root file system, nowhere yet.
pub(super) fn prepare(plan: &ContainerPlan, user: Option<BorrowedFd<'_>>) -> Result<OwnedFd, LaunchError> {
    let rootfs = &plan.rootfs;
    let layers = Layers { lower: &rootfs.lower, upper: Some((&rootfs.upper, &rootfs.work)) };
    overlay(&layers, user, plan.mount_label.as_deref(), &plan.mountpoint)
}

/// Makes an overlay, nowhere yet; with `user`, its files belong to the ids of that user namespace.
///
/// `scratch` is a directory to mount on in the meantime, in this mount namespace.
pub(super) fn overlay(
    layers: &Layers<'_>,
    user: Option<BorrowedFd<'_>>,
    label: Option<&str>,
    scratch: &Path,
) -> Result<OwnedFd, LaunchError> {
    match user {
        None => {
            let lower: Vec<&Path> = layers.lower.iter().map(PathBuf::as_path).collect();
            assemble(&lower, layers.upper, label, scratch)
        }
        Some(user) => mapped(layers, user, label, scratch),
    }
}

/// An overlay of id-mapped copies of the layers. overlayfs wants layers that are mounted somewhere, so the copies go
/// onto directories of a tmpfs on `scratch` until it has them.
fn mapped(
    layers: &Layers<'_>,
    user: BorrowedFd<'_>,
    label: Option<&str>,
    scratch: &Path,
) -> Result<OwnedFd, LaunchError> {
    let tmpfs = FileSystem::new("tmpfs").and_then(|fs| fs.mount(MountAttrFlags::empty()));
    let tmpfs = tmpfs.at(Step::Rootfs, "scratch tmpfs")?;
    let place = open_directory(scratch)?;
    mount::attach(&tmpfs, &place).at(Step::Rootfs, scratch.display())?;
    let copy = |source: &Path, name: &str| -> Result<PathBuf, LaunchError> {
        let tree = mount::clone_path(source, false).at(Step::Rootfs, source.display())?;
        idmap(&tree, user).at(Step::Rootfs, format_args!("map ids of {}", source.display()))?;
        rustix::fs::mkdirat(&tmpfs, name, Mode::RWXU).at(Step::Rootfs, name)?;
        let place = openat(&tmpfs, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).at(Step::Rootfs, name)?;
        mount::attach(&tree, &place).at(Step::Rootfs, name)?;
        Ok(scratch.join(name))
    };
    let lower: Vec<PathBuf> = layers
        .lower
        .iter()
        .enumerate()
        .map(|(index, layer)| copy(layer, &index.to_string()))
        .collect::<Result<_, _>>()?;
    let lower: Vec<&Path> = lower.iter().map(PathBuf::as_path).collect();
    // Upper and work have to be on one mount: their common directory is what is copied.
    let upper = match layers.upper {
        Some((upper, work)) => match (upper.parent(), upper.file_name(), work.file_name()) {
            (Some(parent), Some(upper), Some(work)) if Some(parent) == layers.upper.and_then(|(_, w)| w.parent()) => {
                let parent = copy(parent, "upper")?;
                Some((parent.join(upper), parent.join(work)))
            }
            _ => return Err(LaunchError::new(Step::Rootfs, "upper and work are not in one directory")),
        },
        None => None,
    };
    let upper = upper.as_ref().map(|(upper, work)| (upper.as_path(), work.as_path()));
    let overlay = assemble(&lower, upper, label, scratch)?;
    rustix::mount::unmount(scratch, UnmountFlags::DETACH).at(Step::Rootfs, scratch.display())?;
    Ok(overlay)
}

/// Maps a mount's ids by a user namespace.
pub(super) fn idmap(tree: impl AsFd, user: BorrowedFd<'_>) -> std::io::Result<()> {
    Attributes { idmap: Some(user), ..Attributes::default() }.apply(tree, true)
}

fn assemble(
    lower: &[&Path],
    upper: Option<(&Path, &Path)>,
    label: Option<&str>,
    scratch: &Path,
) -> Result<OwnedFd, LaunchError> {
    let overlay = FileSystem::new("overlay").at(Step::Rootfs, "overlay")?;
    for layer in lower {
        match overlay.string("lowerdir+", *layer) {
            Ok(_) => {}
            // Linux before 6.8.
            Err(Errno::INVAL) => return assemble_by_text(lower, upper, label, scratch),
            Err(errno) => return Err(errno).at(Step::Rootfs, layer.display()),
        }
    }
    let set = |key: &str, value: &Path| overlay.string(key, value).map(drop).at(Step::Rootfs, value.display());
    if let Some((upper, work)) = upper {
        set("upperdir", upper)?;
        set("workdir", work)?;
        // What a container has written goes with it: not to wait until it is on the disk makes its end fast.
        overlay.flag("volatile").at(Step::Rootfs, "volatile")?;
    }
    if let Some(label) = label {
        overlay.string("context", label).at(Step::Rootfs, label)?;
    }
    overlay.mount(MountAttrFlags::empty()).at(Step::Rootfs, "overlay")
}

/// The same through `mount(2)`, whose options are one page of text: the layers are named by descriptors, which are
/// shorter than paths. The mount is made on `scratch` and taken off again.
fn assemble_by_text(
    lower: &[&Path],
    upper: Option<(&Path, &Path)>,
    label: Option<&str>,
    scratch: &Path,
) -> Result<OwnedFd, LaunchError> {
    let layers = lower.iter().map(|layer| open_directory(layer)).collect::<Result<Vec<_>, _>>()?;
    let names: Vec<String> = layers.iter().map(|layer| format!("/proc/self/fd/{}", layer.as_raw_fd())).collect();
    let mut options = format!("lowerdir={}", names.join(":"));
    let writable = upper.map(|(upper, work)| Ok((open_directory(upper)?, open_directory(work)?))).transpose()?;
    if let Some((upper, work)) = &writable {
        let (upper, work) = (upper.as_raw_fd(), work.as_raw_fd());
        options.push_str(&format!(",upperdir=/proc/self/fd/{upper},workdir=/proc/self/fd/{work},volatile"));
    }
    if let Some(label) = label {
        options.push_str(&format!(",context=\"{label}\""));
    }
    let options = std::ffi::CString::new(options).map_err(|_| LaunchError::new(Step::Rootfs, "NUL byte"))?;
    rustix::mount::mount(c"overlay", scratch, c"overlay", MountFlags::empty(), Some(options.as_c_str()))
        .at(Step::Rootfs, "overlay")?;
    let overlay = mount::clone_path(scratch, false).at(Step::Rootfs, scratch.display())?;
    rustix::mount::unmount(scratch, UnmountFlags::DETACH).at(Step::Rootfs, scratch.display())?;
    Ok(overlay)
}

fn open_directory(path: &Path) -> Result<OwnedFd, LaunchError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty()).at(Step::Rootfs, path.display())
}

/// Puts the root file system into the mount namespace, as a place that paths are resolved in.
pub(super) fn attach(image: OwnedFd, mountpoint: &Path) -> Result<Root, LaunchError> {
    mount::attach(&image, open_directory(mountpoint)?).at(Step::Rootfs, mountpoint.display())?;
    Ok(Root::new(image))
}

/// Makes the root file system the root, and lets go of the host's.
pub(super) fn finish(plan: &ContainerPlan, root: Root) -> Result<(), LaunchError> {
    if plan.readonly_rootfs {
        Attributes { set: libc::MOUNT_ATTR_RDONLY, ..Attributes::default() }
            .apply(&root, false)
            .at(Step::Rootfs, "read-only")?;
    }
    fchdir(&root).at(Step::Rootfs, "enter")?;
    drop(root);
    pivot(c".")
}

/// Makes the current directory, a mount, the root: the old root comes to lie on top of it and is taken off.
pub(super) fn pivot(current: &CStr) -> Result<(), LaunchError> {
    pivot_root(current, current).at(Step::Rootfs, "pivot_root")?;
    rustix::mount::unmount(current, UnmountFlags::DETACH).at(Step::Rootfs, "the host's root")?;
    chdir(c"/").at(Step::Rootfs, "/")
}
