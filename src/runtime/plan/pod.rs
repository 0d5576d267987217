//! The plan of a pod's namespaces.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{HostFacts, sysctl};
use crate::{
    runtime::{error::PlanError, validate},
    types::{Id, IdMapping, NamespaceMode, PodConfig},
};

/// Which namespaces a pod has of its own, and how they are set up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodPlan {
    /// The pod.
    pub id: Id,
    /// Its directory below the run directory; it exists already.
    pub dir: PathBuf,
    /// Host name inside; only used with an own UTS namespace.
    pub hostname: String,
    /// Own network namespace.
    pub net: bool,
    /// Own IPC namespace, and an own `/dev/shm`.
    pub ipc: bool,
    /// Own UTS namespace.
    pub uts: bool,
    /// One PID namespace for all containers, with an init of ours as process 1.
    pub shared_pid: bool,
    /// Own user namespace with these maps.
    #[serde(default)]
    pub user: Option<UserMaps>,
    /// Kernel parameters, keys with `.` between the parts.
    #[serde(default)]
    pub sysctls: BTreeMap<String, String>,
    /// Cgroup of the shared PID namespace's init; [`pod()`] leaves it open, the engine knows the cgroup layout.
    #[serde(default)]
    pub cgroup: Option<String>,
}

/// Id maps of a user namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserMaps {
    /// User ids.
    pub uids: Vec<IdMapping>,
    /// Group ids.
    pub gids: Vec<IdMapping>,
}

impl UserMaps {
    /// The host's user and group id of the namespace's root; the checks of [`pod()`] make sure that there is one.
    pub fn root(&self) -> (u32, u32) {
        let of = |maps: &[IdMapping]| maps.iter().find(|map| map.container_id == 0).map_or(0, |map| map.host_id);
        (of(&self.uids), of(&self.gids))
    }
}

/// Plans a pod.
///
/// # Errors
/// When sysctls do not belong to the pod's own namespaces, when id maps are malformed, or when namespace modes do not
/// fit each other.
pub fn pod(id: &Id, dir: &Path, config: &PodConfig, host: &HostFacts) -> Result<PodPlan, PlanError> {
    let own = |mode| mode != NamespaceMode::Node;
    let net = own(config.namespaces.network);
    let ipc = own(config.namespaces.ipc);
    let user = validate::user_namespace(config)?;
    // A pod on the node's network is the node to its peers, also by name.
    let uts = net;
    let hostname = if uts && !config.hostname.is_empty() { &config.hostname } else { &host.hostname };
    if uts {
        validate::hostname(hostname)?;
    }
    Ok(PodPlan {
        id: id.clone(),
        dir: dir.to_owned(),
        hostname: hostname.clone(),
        net,
        ipc,
        uts,
        shared_pid: config.namespaces.pid == NamespaceMode::Pod,
        sysctls: sysctl::plan(&config.sysctls, net, ipc, uts, user.is_some())?,
        user,
        cgroup: None,
    })
}
