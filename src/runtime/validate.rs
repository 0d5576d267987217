//! Checks of requests, one a function; each knows nothing of the others.

use crate::{
    runtime::{error::PlanError, plan::UserMaps},
    types::{IdMapping, Mount, NamespaceMode, PodConfig, Propagation},
};

/// Longest path that the kernel takes, with its end.
const PATH_MAX: usize = 4096;

/// Most lines in an id map, `user_namespaces(7)`.
const MAX_MAP_LINES: usize = 340;

/// An absolute path without `..`.
pub(super) fn absolute(what: &'static str, path: &str) -> Result<(), PlanError> {
    let steps_back = path.split('/').any(|part| part == "..");
    if path.starts_with('/') && !steps_back && !path.contains('\0') && path.len() < PATH_MAX {
        return Ok(());
    }
    Err(PlanError::InvalidPath { what, path: path.chars().take(256).collect() })
}

/// −1000 to 1000, `proc_pid_oom_score_adj(5)`.
pub(super) fn oom_score_adj(value: i64) -> Result<i32, PlanError> {
    match i32::try_from(value) {
        Ok(value) if (-1000..=1000).contains(&value) => Ok(value),
        _ => Err(PlanError::OomScoreAdj(value)),
    }
}

/// A name that `sethostname(2)` takes and that programs can live with.
pub(super) fn hostname(name: &str) -> Result<(), PlanError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if (1..=64).contains(&name.len()) && name.bytes().all(allowed) {
        return Ok(());
    }
    Err(PlanError::InvalidHostname(name.chars().take(65).collect()))
}

/// A place in the container that something may be mounted on.
pub(super) fn mount_target(target: &str) -> Result<(), PlanError> {
    absolute("mount target", target)?;
    if target.trim_matches(['/', '.']).is_empty() {
        return Err(PlanError::InvalidMount { target: target.to_owned(), why: "the root itself cannot be replaced" });
    }
    Ok(())
}

/// A mount of a request; `image` says that layers for it were found.
pub(super) fn mount(mount: &Mount, image: bool) -> Result<(), PlanError> {
    let target = mount.container_path.as_str();
    mount_target(target)?;
    let invalid = |why| Err(PlanError::InvalidMount { target: target.to_owned(), why });
    if mount.recursive_read_only {
        if !mount.readonly {
            return invalid("recursive_read_only needs readonly");
        }
        if mount.propagation != Propagation::Private {
            return invalid("recursive_read_only needs private propagation");
        }
    }
    if mount.image.is_some() || image {
        return match mount {
            _ if !image => invalid("its image has no layers here"),
            Mount { host_path, .. } if !host_path.is_empty() => invalid("it names both an image and a host path"),
            Mount { readonly: false, .. } => invalid("image mounts must be readonly"),
            Mount { image_sub_path, .. } if image_sub_path.split('/').any(|part| part == "..") => {
                invalid("its sub path leaves the image")
            }
            _ => Ok(()),
        };
    }
    if mount.host_path.is_empty() {
        return invalid("it has neither a host path nor an image");
    }
    absolute("mount source", &mount.host_path)
}

/// The pod's own user namespace, `None` for the node's.
pub(super) fn user_namespace(config: &PodConfig) -> Result<Option<UserMaps>, PlanError> {
    let Some(user) = &config.namespaces.user else { return Ok(None) };
    match user.mode {
        NamespaceMode::Node if user.uids.is_empty() && user.gids.is_empty() => Ok(None),
        NamespaceMode::Node => Err(PlanError::InvalidIdMap("the node's user namespace has no maps of its own")),
        NamespaceMode::Pod if [config.namespaces.pid, config.namespaces.ipc].contains(&NamespaceMode::Node) => {
            // The kernel lets only the owner of a namespace mount what shows it.
            Err(PlanError::InvalidIdMap("it needs PID and IPC namespaces of the pod's own"))
        }
        NamespaceMode::Pod => {
            id_map(&user.uids)?;
            id_map(&user.gids)?;
            Ok(Some(UserMaps { uids: user.uids.clone(), gids: user.gids.clone() }))
        }
        NamespaceMode::Container | NamespaceMode::Target => {
            Err(PlanError::InvalidIdMap("user namespaces are of a pod or of the node"))
        }
    }
}

fn id_map(map: &[IdMapping]) -> Result<(), PlanError> {
    let end = |first: u32, line: &IdMapping| first.checked_add(line.length);
    if map.is_empty() || map.len() > MAX_MAP_LINES {
        return Err(PlanError::InvalidIdMap("a map has 1 to 340 lines"));
    }
    if map
        .iter()
        .any(|line| line.length == 0 || end(line.host_id, line).is_none() || end(line.container_id, line).is_none())
    {
        return Err(PlanError::InvalidIdMap("a line is empty or leaves the range of ids"));
    }
    if !map.iter().any(|line| line.container_id == 0) {
        return Err(PlanError::InvalidIdMap("the container's id 0 is not mapped"));
    }
    let overlap = |first: fn(&IdMapping) -> u32| {
        map.iter().enumerate().any(|(index, a)| {
            map[..index].iter().any(|b| first(a) < first(b) + b.length && first(b) < first(a) + a.length)
        })
    };
    if overlap(|line| line.host_id) || overlap(|line| line.container_id) {
        return Err(PlanError::InvalidIdMap("two lines overlap"));
    }
    Ok(())
}
