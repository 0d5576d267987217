//! Bind and image mounts, and the order of all mounts.

use std::{
    fs::DirBuilder,
    io,
    os::{
        fd::{BorrowedFd, OwnedFd},
        unix::fs::DirBuilderExt as _,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, FileType, OFlags, StatxFlags, fstat, statx},
    io::Errno,
};

use super::{
    file_systems,
    rootfs::{self, Layers},
};
use crate::{
    runtime::{
        error::{At as _, LaunchError, Step},
        lsm,
        plan::{Bind, ContainerPlan, IdMap, MountFlags, MountPlan, MountSource, ReadOnly},
    },
    sys::{
        mount,
        mount_attr::Attributes,
        openat2::{Missing, Root},
    },
    types::Propagation,
};

/// Trees that are mounted nowhere yet, one for each mount of the plan that has a source outside the container.
pub(super) type Sources = Vec<Option<OwnedFd>>;

/// Copies the sources of all bind mounts.
pub(super) fn prepare(plan: &ContainerPlan, user: Option<BorrowedFd<'_>>) -> Result<Sources, LaunchError> {
    let source = |mount: &MountPlan| match &mount.source {
        MountSource::Bind(bind) => copy(bind, mount.flags, user, plan.mount_label.as_deref()),
        _ => Ok(None),
    };
    plan.mounts.iter().map(source).collect()
}

/// Makes what all image mounts show.
pub(super) fn prepare_images(plan: &ContainerPlan, user: Option<BorrowedFd<'_>>) -> Result<Sources, LaunchError> {
    let source = |mount: &MountPlan| match &mount.source {
        MountSource::Image { lower, sub_path } => image(plan, mount, lower, sub_path, user).map(Some),
        _ => Ok(None),
    };
    plan.mounts.iter().map(source).collect()
}

/// Takes all mounts out of the host's peer groups.
pub(in crate::runtime) fn make_private() -> Result<(), LaunchError> {
    use rustix::mount::{MountPropagationFlags, mount_change};
    mount_change(c"/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).at(Step::Mount, "private /")
}

fn copy(
    bind: &Bind,
    flags: MountFlags,
    user: Option<BorrowedFd<'_>>,
    label: Option<&str>,
) -> Result<Option<OwnedFd>, LaunchError> {
    let path = bind.path.as_path();
    let tree = match mount::clone_path(path, true) {
        Err(Errno::NOENT) if bind.optional => return Ok(None),
        // As the other engines do for kubelet's host paths; a file cannot be meant by a name that says nothing.
        Err(Errno::NOENT) => {
            DirBuilder::new().recursive(true).mode(0o755).create(path).at(Step::Mount, path.display())?;
            mount::clone_path(path, true)
        }
        result => result,
    };
    let tree = tree.at(Step::Mount, path.display())?;
    if let (true, Some(label)) = (bind.relabel, label) {
        lsm::selinux::relabel(path, label)
            .map_err(|error| LaunchError::new(Step::Mount, crate::error::chain(&error)))?;
    }
    if bind.propagation != Propagation::Private {
        check_propagation(path, bind.propagation)?;
    }
    set_propagation(&tree, bind.propagation).at(Step::Mount, path.display())?;
    if let (Some(user), IdMap::Preferred | IdMap::Required) = (user, bind.idmap) {
        match rootfs::idmap(&tree, user) {
            // Not all file systems can.
            Err(error) if bind.idmap == IdMap::Preferred && error.raw_os_error() == Some(libc::EINVAL) => {}
            result => result.at(Step::Mount, format_args!("map ids of {}", path.display()))?,
        }
    }
    set_flags(&tree, flags).at(Step::Mount, path.display())?;
    Ok(Some(tree))
}

fn image(
    plan: &ContainerPlan,
    mount: &MountPlan,
    lower: &[PathBuf],
    sub_path: &str,
    user: Option<BorrowedFd<'_>>,
) -> Result<OwnedFd, LaunchError> {
    let tree = whole(lower, user, plan.mount_label.as_deref(), &plan.mountpoint)?;
    let tree = match sub_path {
        "" => tree,
        sub_path => part(tree, sub_path, &plan.mountpoint)?,
    };
    set_propagation(&tree, Propagation::Private).at(Step::Mount, &mount.target)?;
    set_flags(&tree, mount.flags).at(Step::Mount, &mount.target)?;
    Ok(tree)
}

/// All that an image shows, nowhere yet.
fn whole(
    lower: &[PathBuf],
    user: Option<BorrowedFd<'_>>,
    label: Option<&str>,
    scratch: &Path,
) -> Result<OwnedFd, LaunchError> {
    match lower {
        [] => Err(LaunchError::new(Step::Mount, "the image has no layers")),
        [layer] => {
            let tree = mount::clone_path(layer.as_path(), false).at(Step::Mount, layer.display())?;
            if let Some(user) = user {
                rootfs::idmap(&tree, user).at(Step::Mount, format_args!("map ids of {}", layer.display()))?;
            }
            Ok(tree)
        }
        lower => rootfs::overlay(&Layers { lower, upper: None }, user, label, scratch),
    }
}

/// Whether an image, by its layers, top layer first, has something at a path. The caller's mount namespace is its own,
/// and `scratch` is a directory to mount on.
pub(in crate::runtime) fn has_path(lower: &[PathBuf], path: &str, scratch: &Path) -> Result<bool, LaunchError> {
    let root = rootfs::attach(whole(lower, None, None, scratch)?, scratch)?;
    match root.open(path, OFlags::PATH) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(false),
        Err(errno) => Err(errno).at(Step::Mount, format_args!("image sub path {path}")),
    }
}

/// A path within a tree, as a tree of its own; to be copied, it has to be mounted in the meantime.
fn part(tree: OwnedFd, path: &str, scratch: &Path) -> Result<OwnedFd, LaunchError> {
    use rustix::mount::{UnmountFlags, unmount};
    let root = rootfs::attach(tree, scratch)?;
    let place = root.open(path, OFlags::PATH).at(Step::Mount, format_args!("image sub path {path}"))?;
    let part = mount::clone_fd(&place, false).at(Step::Mount, path)?;
    unmount(scratch, UnmountFlags::DETACH).at(Step::Mount, scratch.display())?;
    Ok(part)
}

fn set_propagation(tree: &OwnedFd, propagation: Propagation) -> io::Result<()> {
    let propagation = match propagation {
        Propagation::Private => libc::MS_PRIVATE,
        Propagation::HostToContainer => libc::MS_SLAVE,
        Propagation::Bidirectional => libc::MS_SHARED,
    };
    Attributes { propagation, ..Attributes::default() }.apply(tree, true)
}

fn set_flags(tree: &OwnedFd, flags: MountFlags) -> io::Result<()> {
    let set = file_systems::attributes(flags).bits().into();
    if set == 0 {
        return Ok(());
    }
    Attributes { set, ..Attributes::default() }.apply(tree, flags.readonly == ReadOnly::Recursive)
}

/// Mounts that are made later can only pass from and to a host mount that is shared, or follows a shared one.
fn check_propagation(path: &Path, propagation: Propagation) -> Result<(), LaunchError> {
    let id = statx(CWD, path, AtFlags::empty(), StatxFlags::MNT_ID).at(Step::Mount, path.display())?.stx_mnt_id;
    let table = std::fs::read_to_string("/proc/self/mountinfo").at(Step::Mount, "/proc/self/mountinfo")?;
    let line = table.lines().find(|line| line.split(' ').next() == Some(id.to_string().as_str()));
    // Optional fields stand between the sixth field and a dash.
    let fields: Vec<&str> = line.unwrap_or("").split(' ').skip(6).take_while(|field| *field != "-").collect();
    let has = |tag: &str| fields.iter().any(|field| field.starts_with(tag));
    let wrong = match propagation {
        Propagation::Bidirectional if !has("shared:") => "is not on a shared mount",
        Propagation::HostToContainer if !has("shared:") && !has("master:") => {
            "is neither on a shared nor a slave mount"
        }
        _ => return Ok(()),
    };
    Err(LaunchError::new(Step::Mount, format!("{} {wrong}", path.display())))
}

/// Mounts everything, in the plan's order.
pub(super) fn attach(plan: &ContainerPlan, root: &Root, sources: Sources, images: Sources) -> Result<(), LaunchError> {
    for ((mount, source), image) in plan.mounts.iter().zip(sources).zip(images) {
        let target = mount.target.as_str();
        match (source.or(image), &mount.source) {
            (Some(tree), _) => attach_tree(&tree, root, target).at(Step::Mount, target)?,
            // An optional source that does not exist.
            (None, MountSource::Bind(_) | MountSource::Image { .. }) => {}
            (None, source) => file_systems::mount(root, target, source, mount.flags, plan.mount_label.as_deref())?,
        }
    }
    Ok(())
}

/// Mounts a tree at a path, which is made when it is missing.
pub(super) fn attach_tree(tree: &OwnedFd, root: &Root, path: &str) -> rustix::io::Result<()> {
    let is_directory = FileType::from_raw_mode(fstat(tree)?.st_mode).is_dir();
    let place = root.make(path, if is_directory { Missing::Directory } else { Missing::File })?;
    mount::attach(tree, place)
}
