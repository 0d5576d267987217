//! The plan of a container: everything that its first process sets up before it becomes the program.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{
    Capabilities, DeviceNode, GroupPlan, HostFacts, MountPlan, ProcessPlan, UserMaps, UserPlan, capability, device,
    mount, process, user,
};
use crate::{
    runtime::{
        cdi,
        cgroup::{self, Limits},
        error::PlanError,
        hooks::Hooks,
        lsm::{self, ExecLabel},
        seccomp, validate,
    },
    types::{ContainerConfig, ContainerSecurity, Id, NamespaceMode, PodConfig, Profile},
};

/// What an image says about its containers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageDefaults {
    /// `NAME=value` entries.
    pub env: Vec<String>,
    /// Entry point.
    pub entrypoint: Vec<String>,
    /// Arguments.
    pub cmd: Vec<String>,
    /// Working directory; empty for `/`.
    pub working_dir: String,
    /// User as the image words it; empty for root.
    pub user: String,
}

/// The layers of a root file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootfsPlan {
    /// Read-only layers, top layer first; never empty.
    pub lower: Vec<PathBuf>,
    /// The container's own changes; beside `work`, in the same directory.
    pub upper: PathBuf,
    /// overlayfs' scratch directory.
    pub work: PathBuf,
    /// The projects of its files are not the container's to change: writable layers are limited by them.
    #[serde(default)]
    pub fixed_projects: bool,
}

/// The layers behind an image mount of the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageMount {
    /// Index into the request's mounts.
    pub index: usize,
    /// Layers, top layer first.
    pub lower: Vec<PathBuf>,
}

/// All that a container's plan follows from.
#[derive(Debug, Clone)]
pub struct ContainerRequest<'a> {
    /// The container.
    pub id: &'a Id,
    /// Its pod.
    pub pod_id: &'a Id,
    /// The pod as it was asked for.
    pub pod: &'a PodConfig,
    /// The container as it is asked for.
    pub config: &'a ContainerConfig,
    /// Defaults of its image.
    pub image: &'a ImageDefaults,
    /// Its root file system.
    pub rootfs: RootfsPlan,
    /// The pod's directory.
    pub pod_dir: &'a Path,
    /// Layers of the image mounts.
    pub image_mounts: Vec<ImageMount>,
    /// What the devices that it names add to it.
    pub cdi: &'a cdi::Edits,
    /// Full cgroup path, without a mount point.
    pub cgroup: String,
    /// Main process of the container whose PID namespace is shared, for [`NamespaceMode::Target`].
    pub target_pid: Option<i32>,
    /// MCS level of the pod where SELinux is on, else empty.
    pub selinux_level: &'a str,
    /// The host.
    pub host: &'a HostFacts,
}

/// Whose PID namespace a container uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PidNamespace {
    /// Its own.
    Own,
    /// The pod's, whose process 1 is our init.
    Pod,
    /// The node's.
    Host,
    /// That of the process with this id.
    Target(i32),
}

/// What a container's processes may do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Confinement {
    /// Capabilities.
    pub capabilities: Capabilities,
    /// `PR_SET_NO_NEW_PRIVS`.
    pub no_new_privs: bool,
    /// System call filter.
    pub seccomp: Option<seccomp::Program>,
    /// One more, without which the processes could leave the project by which their files are limited.
    pub project_guard: Option<seccomp::Program>,
    /// Security module's label.
    pub label: Option<ExecLabel>,
}

/// Everything that is decided about a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerPlan {
    /// The container.
    pub id: Id,
    /// What is executed.
    pub process: ProcessPlan,
    /// As whom.
    pub user: UserPlan,
    /// With which groups.
    pub groups: GroupPlan,
    /// PID namespace; net, IPC, UTS and user namespaces are the pod's.
    pub pid: PidNamespace,
    /// Maps of the pod's user namespace; `None` without one.
    #[serde(default)]
    pub user_namespace: Option<UserMaps>,
    /// Layers of the root file system.
    pub rootfs: RootfsPlan,
    /// The container's changes need not survive the host's: its end does not wait until they are on the disk, and they
    /// cannot be mounted a second time.
    #[serde(default)]
    pub volatile: bool,
    /// No writes to the root file system.
    #[serde(default)]
    pub readonly_rootfs: bool,
    /// A directory to mount the root file system on, there when the container is launched: in the container's own mount
    /// namespace, so that nothing of it is seen on the host.
    pub mountpoint: PathBuf,
    /// Mounts, in the order in which they are made.
    pub mounts: Vec<MountPlan>,
    /// Device nodes.
    pub devices: Vec<DeviceNode>,
    /// Paths that show nothing.
    #[serde(default)]
    pub masked_paths: Vec<String>,
    /// Paths that cannot be written.
    #[serde(default)]
    pub readonly_paths: Vec<String>,
    /// What its processes may do.
    pub confinement: Confinement,
    /// SELinux context of its files, for mounts that take one.
    #[serde(default)]
    pub mount_label: Option<String>,
    /// `oom_score_adj`; `None` leaves the launcher's.
    #[serde(default)]
    pub oom_score_adj: Option<i32>,
    /// Full cgroup path.
    pub cgroup: String,
    /// The cgroup's limits.
    pub limits: Limits,
    /// Programs of the host that are run on the way.
    #[serde(default)]
    pub hooks: Option<Hooks>,
}

/// Plans a container.
///
/// # Errors
/// When the request is malformed, asks for what does not fit together, or for what this host does not have.
pub fn container(request: &ContainerRequest<'_>) -> Result<ContainerPlan, PlanError> {
    let (config, host) = (request.config, request.host);
    let security = &config.security;
    cgroup::validate_path(&request.cgroup).map_err(PlanError::Cgroup)?;
    if request.rootfs.lower.is_empty() {
        return Err(PlanError::NoLayers);
    }
    let (user, mut groups) = user::plan(security, &request.image.user)?;
    groups.supplemental.extend(&request.cdi.groups);
    let (devices, rules) = device::plan(request, &user, &groups)?;
    let capabilities = capability::plan(security, host)?;
    let labels = lsm::selinux::plan(&security.selinux, security.privileged, request.selinux_level)?;
    let mount_label = labels.as_ref().map(|labels| labels.mount_context().to_owned());
    let oom_score_adj = config.resources.oom_score_adj;
    let hooks = Hooks::new(request.id, request.pod_dir, &config.annotations, &request.cdi.hooks);
    let user_namespace = validate::user_namespace(request.pod)?;
    let conditions = seccomp::Conditions { capabilities: capabilities.granted.0, kernel: host.kernel };
    // In a user namespace the kernel lets nobody change projects.
    let fixed_projects = request.rootfs.fixed_projects && user_namespace.is_none() && !security.privileged;
    let guard = fixed_projects.then(|| seccomp::compile_built_in(seccomp::BuiltIn::FixedProjects, &conditions));
    Ok(ContainerPlan {
        id: request.id.clone(),
        process: process::plan(request)?,
        user,
        groups,
        pid: pid(request)?,
        user_namespace,
        rootfs: request.rootfs.clone(),
        volatile: true,
        readonly_rootfs: security.readonly_rootfs,
        mountpoint: hooks.as_ref().map_or_else(|| request.pod_dir.to_owned(), Hooks::root),
        mounts: mount::plan(request, mount_label.as_deref())?,
        devices,
        masked_paths: paths("masked", security, &security.masked_paths)?,
        readonly_paths: paths("read-only", security, &security.readonly_paths)?,
        confinement: Confinement {
            seccomp: seccomp(security, &conditions)?,
            project_guard: guard.transpose()?,
            label: match labels {
                Some(labels) => Some(labels.exec()),
                None => lsm::apparmor::plan(security.apparmor.as_ref(), security.privileged)?,
            },
            no_new_privs: security.no_new_privs,
            capabilities,
        },
        mount_label,
        oom_score_adj: Some(validate::oom_score_adj(oom_score_adj)?),
        cgroup: request.cgroup.clone(),
        limits: Limits::plan(&config.resources, Some(rules), host.cgroup)?,
        hooks,
    })
}

/// Masked or read-only paths; a privileged container has none.
fn paths(what: &'static str, security: &ContainerSecurity, list: &[String]) -> Result<Vec<String>, PlanError> {
    if security.privileged {
        return Ok(Vec::new());
    }
    list.iter().try_for_each(|path| validate::absolute(what, path))?;
    Ok(list.to_vec())
}

fn pid(request: &ContainerRequest<'_>) -> Result<PidNamespace, PlanError> {
    let options = &request.config.security.namespaces;
    match options.pid {
        NamespaceMode::Container => Ok(PidNamespace::Own),
        NamespaceMode::Node => Ok(PidNamespace::Host),
        NamespaceMode::Pod if request.pod.namespaces.pid == NamespaceMode::Pod => Ok(PidNamespace::Pod),
        // A pod on the node's PIDs has no namespace of its own: "the pod's" is the node's.
        NamespaceMode::Pod if request.pod.namespaces.pid == NamespaceMode::Node => Ok(PidNamespace::Host),
        NamespaceMode::Pod => Err(PlanError::NoSharedPid),
        NamespaceMode::Target => match request.target_pid {
            Some(pid) if pid > 0 => Ok(PidNamespace::Target(pid)),
            _ => Err(PlanError::NoTarget(options.target_id.clone())),
        },
    }
}

fn seccomp(
    security: &ContainerSecurity,
    conditions: &seccomp::Conditions,
) -> Result<Option<seccomp::Program>, PlanError> {
    let program = match &security.seccomp {
        _ if security.privileged => return Ok(None),
        None | Some(Profile::Unconfined) => return Ok(None),
        Some(Profile::RuntimeDefault) => seccomp::compile_built_in(seccomp::BuiltIn::Default, conditions),
        Some(Profile::Localhost(path)) => seccomp::compile(&seccomp::load(Path::new(path))?, conditions),
    };
    Ok(Some(program?))
}
