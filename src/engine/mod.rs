//! Pods and containers: their verbs, states and records.
//!
//! - **Owns:** what a pod and a container are, which operation is legal when, what is written down before a call is
//!   answered, recovery after a restart.
//! - **Never:** knows protobuf, HTTP, netlink or tar; touches the kernel only through the rooms below.
//! - **Runs in:** the daemon.
//! - **Start reading at:** `pod/run.rs`, `container/create.rs`, `container/start.rs`; then `recover.rs`.
//!
//! Every verb has its own file. An operation on one pod or container takes that object's gate and no other lock, so
//! that one stuck pod cannot hold up another. Slow verbs run as [`crate::task::Joint`] operations: a caller that gives
//! up does not leave half a pod behind, and its retry gets the result.

mod container;
mod cpu_rate;
mod error;
mod events;
mod exec;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod index;
mod ledger;
mod levels;
mod metrics;
mod names;
mod pod;
mod recover;
mod removal;
mod rollback;
mod stream;
mod usage;
mod view;
mod watch;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};

use tokio_util::task::TaskTracker;

pub use error::Error;
pub use stream::StreamBackend;
pub use view::*;

use crate::{
    image,
    monitor::client::Spawner,
    network::Network,
    runtime::{cgroup, lsm::selinux, plan::HostFacts},
    task::Joint,
    types::Id,
};

/// How an engine is set up.
#[derive(Debug, Clone)]
pub struct Config {
    /// Directory of what survives a reboot.
    pub root: PathBuf,
    /// Directory of what does not.
    pub run: PathBuf,
    /// Who makes cgroups.
    pub cgroup_driver: cgroup::Driver,
    /// Cgroup under which pods go that name no parent.
    pub cgroup_root: String,
    /// Directories of Container Device Interface specifications, the one that wins last.
    pub cdi_dirs: Vec<PathBuf>,
    /// Whether a container's image may be the path of a checkpoint.
    pub restore_checkpoints: bool,
    /// Runtime handlers that pods may name, beside the default `""`.
    pub handlers: Vec<String>,
}

/// The rooms that an engine works with.
#[derive(Debug)]
pub struct Parts {
    /// Forks monitors.
    pub spawner: Spawner,
    /// The images of this host.
    pub images: Arc<image::Store>,
    /// The pod network.
    pub network: Arc<Network>,
    /// What the host can do.
    pub host: HostFacts,
    /// The host's cgroups.
    pub cgroups: cgroup::Hierarchy,
}

/// All pods and containers of the host.
#[derive(Debug)]
pub struct Engine {
    config: Config,
    parts: Parts,
    ledger: ledger::Ledger,
    pods: index::Index<pod::Pod>,
    containers: index::Index<container::Container>,
    names: names::Names,
    events: events::Events,
    usage: usage::LayerCache,
    /// SELinux levels of pods; none are handed out where SELinux is off.
    levels: Mutex<selinux::Levels>,
    /// RunPodSandbox operations under way or not yet fetched, by request.
    pod_runs: Joint<String, Id, Error>,
    /// CreateContainer operations, likewise.
    container_creations: Joint<String, Id, Error>,
    tasks: TaskTracker,
}

impl Engine {
    /// Opens the state, finds the pods that still run and finishes what was half done when the last daemon ended.
    ///
    /// # Errors
    /// When the state cannot be read. What is wrong with a single pod is logged and that pod is `NotReady`.
    pub async fn open(config: Config, parts: Parts) -> Result<Arc<Self>, Error> {
        let ledger = ledger::Ledger::open(&config.root).await?;
        let engine = Arc::new(Self {
            config,
            parts,
            ledger,
            pods: index::Index::default(),
            containers: index::Index::default(),
            names: names::Names::default(),
            events: events::Events::default(),
            usage: usage::LayerCache::default(),
            levels: Mutex::default(),
            pod_runs: Joint::default(),
            container_creations: Joint::default(),
            tasks: TaskTracker::new(),
        });
        engine.recover().await?;
        Ok(engine)
    }

    /// The images of this host.
    pub fn images(&self) -> &Arc<image::Store> {
        &self.parts.images
    }

    /// The pod network.
    pub fn network(&self) -> &Arc<Network> {
        &self.parts.network
    }

    /// What the host can do.
    pub fn host(&self) -> &HostFacts {
        &self.parts.host
    }

    /// Waits until background work and pending records are written. Pods and containers go on; with the last pod, the
    /// host's part of the network goes too.
    pub async fn close(&self) {
        self.tasks.close();
        self.tasks.wait().await;
        self.ledger.flush().await;
        // Without pods nothing of the network is needed any more; with pods it stays as it is.
        if let Err(error) = self.parts.network.close().await {
            tracing::warn!(error = crate::error::chain(&error), "the host's part of the network is left");
        }
    }

    fn pod_dir(&self, id: &Id) -> PathBuf {
        self.config.run.join("pods").join(id.as_str())
    }
}

/// Makes the id of a new pod or container.
fn new_id() -> Result<Id, Error> {
    let random = ring::rand::SystemRandom::new();
    let bytes = ring::rand::generate::<[u8; 32]>(&random).map_err(|_| Error::Random)?;
    Ok(Id::from_bytes(bytes.expose()))
}
