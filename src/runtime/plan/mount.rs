//! The mounts of a container, in order.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::ContainerRequest;
use crate::{
    runtime::{cdi, cgroup::Version, error::PlanError, validate},
    types::{IdMapping, Mount, NamespaceMode, Propagation},
};

/// Size of a container's own `/dev`, bytes.
const DEV_SIZE: u64 = 64 << 20;

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountPlan {
    /// Where, in the container; it is resolved inside the root file system and made when it is missing.
    pub target: String,
    /// What.
    pub source: MountSource,
    /// How.
    #[serde(default)]
    pub flags: MountFlags,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountSource {
    /// A file or a tree of the host.
    Bind(Bind),
    /// An image's files.
    Image {
        /// Layers, top layer first.
        lower: Vec<PathBuf>,
        /// A path within; empty for all.
        sub_path: String,
    },
    /// procfs of the container's PID namespace.
    Proc,
    /// sysfs of the pod's network namespace.
    Sysfs,
    /// POSIX message queues of the pod's IPC namespace.
    Mqueue,
    /// Pseudo-terminals of its own.
    Devpts,
    /// The container's own cgroups, seen from its cgroup namespace.
    Cgroup {
        /// The v1 hierarchies by their controllers; empty for v2.
        hierarchies: Vec<String>,
    },
    /// Memory.
    Tmpfs {
        /// Permission bits of its root.
        mode: u32,
        /// Bytes; `None` is the kernel's default.
        size: Option<u64>,
    },
}

/// A bind mount's source and how it is taken.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bind {
    /// A path on the host; symbolic links are followed there.
    pub path: PathBuf,
    /// Leave the mount out when the source does not exist; else the source is made, as a directory.
    pub optional: bool,
    /// Whether later mounts pass between host and container.
    pub propagation: Propagation,
    /// Show ids as the pod's user namespace maps them.
    pub idmap: IdMap,
    /// Give the source the container's SELinux label.
    pub relabel: bool,
}

/// Whether a bind mount of a pod with a user namespace is id-mapped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum IdMap {
    /// No.
    #[default]
    None,
    /// Where the file system can.
    Preferred,
    /// Yes, or the launch fails.
    Required,
}

/// Whether a mount can be written through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReadOnly {
    /// It can.
    #[default]
    No,
    /// Not through this mount; through mounts below it yes.
    Plain,
    /// Not through mounts below it either.
    Recursive,
}

impl ReadOnly {
    fn of(readonly: bool, recursive: bool) -> Self {
        match (readonly, recursive) {
            (false, _) => Self::No,
            (true, false) => Self::Plain,
            (true, true) => Self::Recursive,
        }
    }
}

/// Attributes of a mount.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MountFlags {
    /// No writes.
    pub readonly: ReadOnly,
    /// Set-user-id bits and file capabilities count for nothing.
    pub nosuid: bool,
    /// Device nodes cannot be opened.
    pub nodev: bool,
    /// Nothing can be executed.
    pub noexec: bool,
}

impl MountFlags {
    /// `nosuid,nodev,noexec`, as for file systems that hold no programs.
    const DATA: Self = Self { readonly: ReadOnly::No, nosuid: true, nodev: true, noexec: true };

    fn readonly_if(self, readonly: bool) -> Self {
        Self { readonly: if readonly { ReadOnly::Plain } else { ReadOnly::No }, ..self }
    }
}

/// Decides a container's mounts: the file systems that every container has, the pod's files, what is asked for, then
/// what CDI devices bring; each replaces earlier ones on the same path, and a mount on `/dev` all of ours below it.
///
/// # Errors
/// Mounts that are malformed or contradict themselves.
pub(super) fn plan(request: &ContainerRequest<'_>, label: Option<&str>) -> Result<Vec<MountPlan>, PlanError> {
    let asked = &request.config.mounts;
    for (index, mount) in asked.iter().enumerate() {
        validate::mount(mount, request.image_mounts.iter().any(|image| image.index == index))?;
    }
    for mount in &request.cdi.mounts {
        validate::absolute("mount target", &mount.target)?;
    }
    let cdi: Vec<String> = request.cdi.mounts.iter().map(|mount| clean(&mount.target)).collect();
    let targets: Vec<String> = asked.iter().map(|mount| clean(&mount.container_path)).collect();
    let replaced = |target: &str| {
        targets.iter().chain(&cdi).any(|asked| asked == target || (asked == "/dev" && target.starts_with("/dev/")))
    };
    let mut plan = file_systems(request);
    plan.retain(|mount| !replaced(&mount.target));

    let mut binds = pod_files(request);
    binds.retain(|mount| !targets.contains(&mount.target));
    for (index, (mount, target)) in asked.iter().zip(&targets).enumerate() {
        binds.push(requested(request, index, mount, target, label)?);
    }
    for (mount, target) in request.cdi.mounts.iter().zip(&cdi) {
        binds.retain(|other| other.target != *target);
        binds.push(from_cdi(request, mount, target));
    }
    // Outer mounts first, or they would hide the inner ones.
    binds.sort_by_key(|mount| mount.target.split('/').filter(|part| !part.is_empty()).count());
    plan.extend(binds);
    Ok(plan)
}

/// The file systems that every container has.
fn file_systems(request: &ContainerRequest<'_>) -> Vec<MountPlan> {
    let privileged = request.config.security.privileged;
    let mount = |target: &str, source, flags| MountPlan { target: target.to_owned(), source, flags };
    let hierarchies = match request.host.cgroup {
        Version::V1 => request.host.hierarchies.clone(),
        Version::V2 => Vec::new(),
    };
    vec![
        mount("/proc", MountSource::Proc, MountFlags::DATA),
        mount(
            "/dev",
            MountSource::Tmpfs { mode: 0o755, size: Some(DEV_SIZE) },
            MountFlags { nosuid: true, ..MountFlags::default() },
        ),
        mount("/dev/pts", MountSource::Devpts, MountFlags { nosuid: true, noexec: true, ..MountFlags::default() }),
        mount("/dev/mqueue", MountSource::Mqueue, MountFlags::DATA),
        mount("/sys", sysfs(request), MountFlags::DATA.readonly_if(!privileged)),
        mount("/sys/fs/cgroup", MountSource::Cgroup { hierarchies }, MountFlags::DATA.readonly_if(!privileged)),
    ]
}

/// sysfs can only be mounted by the owner of the network namespace: a pod with a user namespace on the node's network
/// gets the node's.
fn sysfs(request: &ContainerRequest<'_>) -> MountSource {
    let namespaces = &request.pod.namespaces;
    if namespaces.network == NamespaceMode::Node && user_namespace(request).is_some() {
        return MountSource::Bind(Bind { path: PathBuf::from("/sys"), ..Bind::default() });
    }
    MountSource::Sysfs
}

/// The pod's shared memory and the files that its directory may hold.
fn pod_files(request: &ContainerRequest<'_>) -> Vec<MountPlan> {
    let readonly = request.config.security.readonly_rootfs;
    let idmap = preferred_idmap(request);
    let shm = match request.pod.namespaces.ipc {
        NamespaceMode::Node => PathBuf::from("/dev/shm"),
        _ => request.pod_dir.join("shm"),
    };
    let mut plan = vec![MountPlan {
        target: "/dev/shm".to_owned(),
        source: MountSource::Bind(Bind { path: shm, ..Bind::default() }),
        flags: MountFlags::DATA,
    }];
    for name in ["hostname", "hosts", "resolv.conf"] {
        plan.push(MountPlan {
            target: format!("/etc/{name}"),
            source: MountSource::Bind(Bind {
                path: request.pod_dir.join(name),
                optional: true,
                relabel: true,
                idmap,
                ..Bind::default()
            }),
            flags: MountFlags::default().readonly_if(readonly),
        });
    }
    plan
}

fn requested(
    request: &ContainerRequest<'_>,
    index: usize,
    mount: &Mount,
    target: &str,
    label: Option<&str>,
) -> Result<MountPlan, PlanError> {
    let source = match request.image_mounts.iter().find(|image| image.index == index) {
        Some(image) => MountSource::Image { lower: image.lower.clone(), sub_path: mount.image_sub_path.clone() },
        None => MountSource::Bind(Bind {
            path: PathBuf::from(&mount.host_path),
            optional: false,
            propagation: mount.propagation,
            idmap: idmap(request, mount)?,
            relabel: mount.selinux_relabel && label.is_some(),
        }),
    };
    let readonly = ReadOnly::of(mount.readonly, mount.recursive_read_only);
    Ok(MountPlan { target: target.to_owned(), source, flags: MountFlags { readonly, ..MountFlags::default() } })
}

fn from_cdi(request: &ContainerRequest<'_>, mount: &cdi::Mount, target: &str) -> MountPlan {
    MountPlan {
        target: target.to_owned(),
        source: MountSource::Bind(Bind {
            path: mount.source.clone(),
            propagation: mount.propagation,
            idmap: preferred_idmap(request),
            ..Bind::default()
        }),
        flags: MountFlags {
            readonly: ReadOnly::of(mount.readonly, mount.recursive_read_only),
            nosuid: mount.nosuid,
            nodev: mount.nodev,
            noexec: mount.noexec,
        },
    }
}

/// In a pod with a user namespace, mounts show ids by its map; another map for one mount is not offered.
fn idmap(request: &ContainerRequest<'_>, mount: &Mount) -> Result<IdMap, PlanError> {
    let asked = !(mount.uid_mappings.is_empty() && mount.gid_mappings.is_empty());
    match user_namespace(request) {
        None if asked => Err(PlanError::IdMappedMount(mount.container_path.clone())),
        None => Ok(IdMap::None),
        Some(_) if !asked => Ok(IdMap::Preferred),
        Some((uids, gids)) if mount.uid_mappings == uids && mount.gid_mappings == gids => Ok(IdMap::Required),
        Some(_) => Err(PlanError::IdMappedMount(mount.container_path.clone())),
    }
}

/// How mounts show ids of which nothing is said.
fn preferred_idmap(request: &ContainerRequest<'_>) -> IdMap {
    if user_namespace(request).is_some() { IdMap::Preferred } else { IdMap::None }
}

fn user_namespace<'a>(request: &ContainerRequest<'a>) -> Option<(&'a [IdMapping], &'a [IdMapping])> {
    let user = request.pod.namespaces.user.as_ref()?;
    (user.mode == NamespaceMode::Pod).then_some((&user.uids, &user.gids))
}

/// The path without empty and `.` parts, to compare targets by; `..` is refused before.
fn clean(path: &str) -> String {
    let parts = Path::new(path).components().skip(1).map(|part| part.as_os_str().to_string_lossy());
    format!("/{}", parts.collect::<Vec<_>>().join("/"))
}
