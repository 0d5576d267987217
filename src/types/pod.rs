//! A pod as it is asked for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{IdMapping, PodSecurity, PortMapping, Resources};

/// All that a pod is made from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PodConfig {
    /// What makes its name.
    pub metadata: PodMetadata,
    /// Host name; empty means the node's.
    pub hostname: String,
    /// Directory of the containers' log files; empty for none.
    pub log_directory: String,
    /// What goes into `resolv.conf`; `None` copies the host's.
    pub dns: Option<DnsConfig>,
    /// Host ports.
    pub ports: Vec<PortMapping>,
    /// Labels, byte-exact.
    pub labels: BTreeMap<String, String>,
    /// Annotations, byte-exact.
    pub annotations: BTreeMap<String, String>,
    /// The cgroup under which the pod's containers go: a path (cgroupfs driver) or a slice (systemd driver).
    pub cgroup_parent: String,
    /// Whose namespaces the pod uses.
    pub namespaces: NamespaceOptions,
    /// Security context.
    pub security: PodSecurity,
    /// Kernel parameters of the pod's namespaces, with `.` or `/` between the parts.
    pub sysctls: BTreeMap<String, String>,
    /// What the pod itself costs, beside its containers.
    pub overhead: Option<Resources>,
    /// The sum of the containers' limits.
    pub resources: Option<Resources>,
    /// The runtime handler; empty for the default.
    pub runtime_handler: String,
}

/// What makes a pod's name; unique together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct PodMetadata {
    /// Name.
    pub name: String,
    /// Unique id given by the caller.
    pub uid: String,
    /// Namespace, in Kubernetes' sense.
    pub namespace: String,
    /// How often it was tried before.
    pub attempt: u32,
}

/// The content of a `resolv.conf`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DnsConfig {
    /// `nameserver` lines.
    pub servers: Vec<String>,
    /// The `search` line's domains.
    pub searches: Vec<String>,
    /// The `options` line's words.
    pub options: Vec<String>,
}

/// Whose namespace is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum NamespaceMode {
    /// The pod's.
    #[default]
    Pod,
    /// The container's own.
    Container,
    /// The node's.
    Node,
    /// Another container's.
    Target,
}

/// Whose namespaces a pod or a container uses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NamespaceOptions {
    /// Network namespace.
    pub network: NamespaceMode,
    /// PID namespace.
    pub pid: NamespaceMode,
    /// IPC namespace.
    pub ipc: NamespaceMode,
    /// The container whose PID namespace is meant by [`NamespaceMode::Target`].
    pub target_id: String,
    /// The user namespace; `None` is the node's.
    pub user: Option<UserNamespace>,
}

/// A user namespace and its maps.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UserNamespace {
    /// `Pod` for an own one, `Node` for none.
    pub mode: NamespaceMode,
    /// User id map.
    pub uids: Vec<IdMapping>,
    /// Group id map.
    pub gids: Vec<IdMapping>,
}
