//! A pod: namespaces, a network attachment and a monitor that holds its containers.

mod files;
pub(super) mod list;
pub(super) mod monitor;
mod remove;
pub(super) mod run;
mod stop;
mod update;

use std::{
    net::IpAddr,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use serde::{Deserialize, Serialize};
use tokio::sync::RwLock;

use super::{
    Engine, Error, PodState, PodView,
    container::{self, Container},
    cpu_rate::CpuRate,
    index::Found,
};
use crate::{
    monitor::client::{self, Monitor},
    types::{Id, NamespaceMode, PodConfig, Timestamp},
};

/// A pod as it is written down.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    id: Id,
    config: Arc<PodConfig>,
    created_at: Timestamp,
    cgroup: String,
    ready: bool,
    #[serde(default)]
    ips: Vec<IpAddr>,
    #[serde(default)]
    selinux_level: String,
}

/// A pod in memory.
#[derive(Debug)]
pub(super) struct Pod {
    pub(super) id: Id,
    pub(super) config: Arc<PodConfig>,
    pub(super) created_at: Timestamp,
    /// The pod's cgroup: the caller's, or one of ours below the engine's root.
    pub(super) cgroup: String,
    /// Its level where SELinux is on, else empty.
    pub(super) selinux_level: String,
    /// Its directory below the run directory.
    pub(super) dir: PathBuf,
    /// Held shared while containers are created and started in it, exclusively while it is stopped or removed.
    pub(super) gate: RwLock<()>,
    pub(super) cpu_rate: CpuRate,
    /// What its record said when the daemon started; `false` for a pod that was made since.
    was_ready: bool,
    live: Mutex<Live>,
    /// Its containers; weak, as they hold the pod.
    members: Mutex<Vec<Weak<Container>>>,
}

/// What changes about a pod.
#[derive(Debug, Clone, Default)]
struct Live {
    ready: bool,
    ips: Vec<IpAddr>,
    contact: Contact,
}

/// How the engine and a pod's monitor stand.
#[derive(Debug, Clone, Default)]
pub(super) enum Contact {
    /// There is no monitor, or somebody is ending it.
    #[default]
    None,
    /// They talk.
    Monitor(Arc<Monitor>),
    /// There is one, and this is why it cannot be talked to.
    Estranged(Arc<client::Error>),
}

impl Pod {
    /// The pod that a record tells of; not ready until its monitor has been found.
    pub(super) fn recovered(record: Record, dir: PathBuf) -> Self {
        Self {
            id: record.id,
            config: record.config,
            created_at: record.created_at,
            cgroup: record.cgroup,
            selinux_level: record.selinux_level,
            dir,
            gate: RwLock::default(),
            cpu_rate: CpuRate::default(),
            was_ready: record.ready,
            live: Mutex::new(Live { ips: record.ips, ..Live::default() }),
            members: Mutex::default(),
        }
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn record(&self) -> Record {
        let live = self.live();
        Record {
            id: self.id.clone(),
            config: Arc::clone(&self.config),
            created_at: self.created_at,
            cgroup: self.cgroup.clone(),
            ready: live.ready,
            ips: live.ips.clone(),
            selinux_level: self.selinux_level.clone(),
        }
    }

    /// The monitor of a ready pod.
    pub(super) fn monitor(&self) -> Result<Arc<Monitor>, Error> {
        let live = self.live();
        match (&live.contact, live.ready) {
            (Contact::Monitor(monitor), true) => Ok(Arc::clone(monitor)),
            (Contact::Estranged(source), true) => Err(Error::Monitor {
                operation: "reach the monitor of",
                object: format!("pod {}", self.id),
                source: Arc::clone(source),
            }),
            _ => Err(Error::PodNotReady(self.id.clone())),
        }
    }

    pub(super) fn set_ready(&self, monitor: Arc<Monitor>, ips: Vec<IpAddr>) {
        *self.live() = Live { ready: true, ips, contact: Contact::Monitor(monitor) };
    }

    /// What a new daemon has found out about the monitor of a pod that was ready: that there is one.
    pub(super) fn set_found(&self, contact: Contact) {
        let mut live = self.live();
        live.ready = true;
        live.contact = contact;
    }

    /// What a daemon has found out anew about the monitor of its pod; `false` when the pod is not ready any more.
    pub(super) fn renew(&self, contact: Contact) -> bool {
        let mut live = self.live();
        if live.ready {
            live.contact = contact;
        }
        live.ready
    }

    /// Marks the pod as not ready and hands out the way to its monitor, so that only one caller shuts it down.
    pub(super) fn set_not_ready(&self) -> Contact {
        let mut live = self.live();
        live.ready = false;
        std::mem::take(&mut live.contact)
    }

    fn members(&self) -> MutexGuard<'_, Vec<Weak<Container>>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, container: &Arc<Container>) {
        self.members().push(Arc::downgrade(container));
    }

    pub(super) fn remove(&self, container: &Container) {
        self.members().retain(|member| !std::ptr::eq(member.as_ptr(), container));
    }

    /// Its containers, the newest first.
    pub(super) fn containers(&self) -> Vec<Arc<Container>> {
        let mut containers: Vec<_> = self.members().iter().filter_map(Weak::upgrade).collect();
        container::newest_first(&mut containers);
        containers
    }

    /// Whether its record said that it is ready, when the daemon started.
    pub(super) fn was_ready(&self) -> bool {
        self.was_ready
    }

    pub(super) fn is_ready(&self) -> bool {
        self.live().ready
    }

    pub(super) fn has_own_network(&self) -> bool {
        self.config.namespaces.network != NamespaceMode::Node
    }

    /// Path of the pinned network namespace.
    pub(super) fn netns(&self) -> PathBuf {
        self.dir.join("ns/net")
    }

    /// `true` when the pod's cgroup was made by the engine and goes with the pod.
    pub(super) fn owns_cgroup(&self) -> bool {
        self.config.cgroup_parent.is_empty()
    }

    pub(super) fn view(&self) -> PodView {
        let live = self.live();
        PodView {
            id: self.id.clone(),
            config: Arc::clone(&self.config),
            state: if live.ready { PodState::Ready } else { PodState::NotReady },
            created_at: self.created_at,
            ips: live.ips.clone(),
            monitor_pid: match &live.contact {
                Contact::Monitor(monitor) => Some(monitor.pid()),
                Contact::None | Contact::Estranged(_) => None,
            },
            netns: (live.ready && self.has_own_network()).then(|| self.netns()),
            cgroup: self.cgroup.clone(),
        }
    }
}

impl Record {
    pub(super) fn id(&self) -> &Id {
        &self.id
    }
}

impl Engine {
    /// The pod with this id or beginning of an id.
    pub(super) fn find_pod(&self, id: &str) -> Result<Arc<Pod>, Error> {
        match self.pods.find(id) {
            Found::One(pod) => Ok(pod),
            Found::None => Err(Error::NoPod(id.to_owned())),
            Found::Many => Err(Error::Ambiguous(id.to_owned())),
        }
    }

    pub(super) async fn save_pod(&self, pod: &Pod) -> Result<(), Error> {
        self.ledger.put(&super::ledger::PODS, &pod.id, &pod.record()).await
    }
}
