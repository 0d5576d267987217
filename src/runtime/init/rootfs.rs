//! The root file system.

use std::{
    ffi::CStr,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, Mode, OFlags, StatVfsMountFlags, openat},
    io::Errno,
    mount::{MountAttrFlags, MountFlags, UnmountFlags},
    process::{chdir, fchdir, pivot_root},
};

use crate::{
    runtime::{
        error::{At as _, LaunchError, Step},
        plan::{ContainerPlan, kernel_version},
    },
    sys::{
        mount::{self, FileSystem},
        mount_attr::Attributes,
        openat2::Root,
    },
};

/// The first Linux that takes the layers of an overlay one by one, for sure.
const LAYER_BY_LAYER: (u32, u32) = (6, 8);

/// Layers of an overlay.
pub(super) struct Layers<'a> {
    /// Read-only ones, top layer first.
    pub(super) lower: &'a [PathBuf],
    /// Writable one.
    pub(super) upper: Option<Upper<'a>>,
}

/// A writable layer.
#[derive(Clone, Copy)]
pub(super) struct Upper<'a> {
    /// Its directory.
    directory: &'a Path,
    /// overlayfs' scratch directory.
    work: &'a Path,
    /// Nobody waits until it is on the disk.
    volatile: bool,
}

/// Makes the root file system, nowhere yet.
pub(super) fn prepare(plan: &ContainerPlan, user: Option<BorrowedFd<'_>>) -> Result<OwnedFd, LaunchError> {
    let rootfs = &plan.rootfs;
    let upper = Upper { directory: &rootfs.upper, work: &rootfs.work, volatile: plan.volatile };
    if let Some(maps) = &plan.user_namespace {
        // What the container writes belongs on the disk to its users as the host knows them, and so does its root:
        // overlayfs works on this layer as the host's root, who is not mapped.
        let (uid, gid) = maps.root();
        std::os::unix::fs::chown(upper.directory, Some(uid), Some(gid)).at(Step::Rootfs, upper.directory.display())?;
    }
    let layers = Layers { lower: &rootfs.lower, upper: Some(upper) };
    let mount = || overlay(&layers, user, plan.mount_label.as_deref(), &plan.mountpoint);
    let root = mount()?;
    if is_writable(&root)? {
        return Ok(root);
    }
    drop(root);
    expect_room(upper.work)?;
    let root = mount()?;
    match is_writable(&root)? {
        true => Ok(root),
        false => Err(Errno::ROFS).at(Step::Rootfs, "overlay"),
    }
}

/// Whether an overlay can be written to. One that cannot make its scratch directory, as on a full disk, is read-only;
/// only the kernel's log says so (`ovl_get_workdir` in fs/overlayfs/super.c).
fn is_writable(overlay: &OwnedFd) -> Result<bool, LaunchError> {
    let status = rustix::fs::fstatvfs(overlay).at(Step::Rootfs, "overlay")?;
    Ok(!status.f_flag.contains(StatVfsMountFlags::RDONLY))
}

/// Makes a directory as overlayfs does, to hear why it cannot.
fn expect_room(directory: &Path) -> Result<(), LaunchError> {
    let probe = directory.join("probe");
    rustix::fs::mkdir(&probe, Mode::RWXU).at(Step::Rootfs, probe.display())?;
    rustix::fs::rmdir(&probe).at(Step::Rootfs, probe.display())
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
    mount::attach(&tmpfs, open_directory(scratch)?).at(Step::Rootfs, scratch.display())?;
    let mut lower = Vec::with_capacity(layers.lower.len());
    for (index, layer) in layers.lower.iter().enumerate() {
        let tree = mount::clone_path(layer.as_path(), false).at(Step::Rootfs, layer.display())?;
        idmap(&tree, user).at(Step::Rootfs, format_args!("map ids of {}", layer.display()))?;
        let name = index.to_string();
        rustix::fs::mkdirat(&tmpfs, &name, Mode::RWXU).at(Step::Rootfs, &name)?;
        let place = scratch.join(&name);
        mount::attach(&tree, open_directory(&place)?).at(Step::Rootfs, place.display())?;
        lower.push(place);
    }
    let lower: Vec<&Path> = lower.iter().map(PathBuf::as_path).collect();
    let overlay = assemble(&lower, layers.upper, label, scratch)?;
    rustix::mount::unmount(scratch, UnmountFlags::DETACH).at(Step::Rootfs, scratch.display())?;
    Ok(overlay)
}

/// Maps a mount's ids by a user namespace.
pub(super) fn idmap(tree: impl AsFd, user: BorrowedFd<'_>) -> std::io::Result<()> {
    Attributes { idmap: Some(user), ..Attributes::default() }.apply(tree, true)
}

fn assemble(
    lower: &[&Path],
    upper: Option<Upper<'_>>,
    label: Option<&str>,
    scratch: &Path,
) -> Result<OwnedFd, LaunchError> {
    let release = rustix::system::uname();
    if kernel_version(&release.release().to_string_lossy()) < LAYER_BY_LAYER {
        return assemble_by_text(lower, upper, label, scratch);
    }
    let overlay = FileSystem::new("overlay").at(Step::Rootfs, "overlay")?;
    let set = |key: &str, value: &Path| overlay.string(key, value).map(drop).at(Step::Rootfs, value.display());
    lower.iter().try_for_each(|layer| set("lowerdir+", layer))?;
    if let Some(upper) = upper {
        set("upperdir", upper.directory)?;
        set("workdir", upper.work)?;
        if upper.volatile {
            overlay.flag("volatile").at(Step::Rootfs, "volatile")?;
        }
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
    upper: Option<Upper<'_>>,
    label: Option<&str>,
    scratch: &Path,
) -> Result<OwnedFd, LaunchError> {
    let layers = lower.iter().map(|layer| open_directory(layer)).collect::<Result<Vec<_>, _>>()?;
    let names: Vec<String> = layers.iter().map(|layer| format!("/proc/self/fd/{}", layer.as_raw_fd())).collect();
    let mut options = format!("lowerdir={}", names.join(":"));
    let writable =
        upper.map(|upper| Ok((open_directory(upper.directory)?, open_directory(upper.work)?))).transpose()?;
    if let Some((directory, work)) = &writable {
        let (directory, work) = (directory.as_raw_fd(), work.as_raw_fd());
        options.push_str(&format!(",upperdir=/proc/self/fd/{directory},workdir=/proc/self/fd/{work}"));
    }
    if upper.is_some_and(|upper| upper.volatile) {
        options.push_str(",volatile");
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
