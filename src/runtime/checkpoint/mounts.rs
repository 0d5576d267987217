//! Which mounts of a container come from outside, and where from.

use std::path::{Path, PathBuf};

use crate::runtime::{
    mountinfo::unescape,
    plan::{ContainerPlan, MountPlan, MountSource},
};

/// The mount points in `mountinfo` (`proc_pid_mountinfo(5)`) that criu is not to dump: what the plan takes from outside,
/// with all that is mounted below, and devices of the host that stand in for masked files.
pub(super) fn external(mountinfo: &str, plan: &ContainerPlan) -> Vec<String> {
    let mut found = Vec::new();
    for line in mountinfo.lines() {
        let Some((mount, file_system)) = line.split_once(" - ") else { continue };
        let Some(target) = mount.split(' ').nth(4).map(unescape) else { continue };
        if within_plan(plan, &target).is_some() || file_system.starts_with("devtmpfs ") {
            found.push(target);
        }
    }
    found
}

/// Where the content of a mount point comes from at a restore: a path below the directory of the plan's mount with that
/// index, or the null device.
pub(in crate::runtime) fn source(plan: &ContainerPlan, target: &str) -> Option<(Option<usize>, PathBuf)> {
    match within_plan(plan, target) {
        Some((index, rest)) => Some((Some(index), rest)),
        None if plan.masked_paths.iter().any(|masked| masked == target) => Some((None, "/dev/null".into())),
        None => None,
    }
}

/// The innermost of the plan's mounts from outside that a path is in, and the path within it.
fn within_plan(plan: &ContainerPlan, target: &str) -> Option<(usize, PathBuf)> {
    let inside = |(index, mount): (usize, &MountPlan)| {
        let rest = Path::new(target).strip_prefix(&mount.target).ok()?;
        is_external(&mount.source).then(|| (index, rest.to_owned(), mount.target.len()))
    };
    let found = plan.mounts.iter().enumerate().filter_map(inside).max_by_key(|(.., length)| *length);
    found.map(|(index, rest, _)| (index, rest))
}

/// Whether a mount is made anew at a restore instead of by criu.
pub(in crate::runtime) fn is_external(source: &MountSource) -> bool {
    matches!(source, MountSource::Bind(_) | MountSource::Image { .. } | MountSource::Cgroup { .. })
}
