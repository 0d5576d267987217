//! A container: an image's layers, a writable one, and one main process at most.

mod checkpoint;
mod create;
pub(super) mod hooks;
mod layer_limit;
mod list;
mod log;
mod phase;
mod remove;
mod start;
mod stop;
mod update;

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

pub(super) use list::{newest_first, passes};
pub(super) use phase::{Change, Phase};

use super::{ContainerView, Engine, Error, User, cpu_rate::CpuRate, index::Found, pod::Pod};
use crate::{
    error::chain,
    runtime::{
        cdi,
        plan::{ImageDefaults, ImageMount, RootfsPlan},
    },
    task::retry,
    types::{ContainerConfig, Digest, Id, Resources, Signal, Timestamp},
};

/// What a container is made from, fixed at its creation.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Made {
    pub(super) id: Id,
    pub(super) pod_id: Id,
    pub(super) config: Arc<ContainerConfig>,
    /// Of the configuration as it was asked for: a checkpoint changes it.
    #[serde(default)]
    asked: Option<Digest>,
    pub(super) created_at: Timestamp,
    pub(super) image_id: Digest,
    pub(super) image_ref: String,
    pub(super) image_name: String,
    /// Kept here, as the image may lose its name or be removed while the container is there.
    pub(super) defaults: ImageDefaults,
    pub(super) rootfs: RootfsPlan,
    #[serde(default)]
    pub(super) image_mounts: Vec<ImageMount>,
    /// Kept here, as the files that describe the devices may change or go while the container is there.
    #[serde(default)]
    pub(super) cdi: cdi::Edits,
    /// What it begins from instead of a program.
    #[serde(default)]
    checkpoint: Option<checkpoint::Origin>,
    pub(super) log_path: Option<PathBuf>,
    pub(super) stop_signal: Signal,
    pub(super) cgroup: String,
}

/// A container as it is written down.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    made: Arc<Made>,
    phase: Phase,
    resources: Resources,
}

/// A container in memory.
#[derive(Debug)]
pub(super) struct Container {
    made: Arc<Made>,
    pub(super) pod: Arc<Pod>,
    phase: watch::Sender<Phase>,
    resources: Mutex<Resources>,
    pub(super) cpu_rate: CpuRate,
    /// Held while it is started, updated or removed. Stopping does not take it.
    pub(super) gate: tokio::sync::Mutex<()>,
    /// When SIGKILL follows the stop signal; set by the first stop, only ever brought forward by later ones.
    kill_at: watch::Sender<Option<Instant>>,
    removing: AtomicBool,
    /// Held while a record is taken and handed to the writer, so that an older one never overwrites a newer one.
    writing: Mutex<()>,
    /// Held while a start or an end is noted and told, so that they are told in order.
    pub(super) telling: Mutex<()>,
}

impl std::ops::Deref for Container {
    type Target = Made;

    fn deref(&self) -> &Made {
        &self.made
    }
}

impl Container {
    fn new(made: Arc<Made>, pod: Arc<Pod>, phase: Phase, resources: Resources) -> Self {
        Self {
            made,
            pod,
            phase: watch::Sender::new(phase),
            resources: Mutex::new(resources),
            cpu_rate: CpuRate::default(),
            gate: tokio::sync::Mutex::default(),
            kill_at: watch::Sender::new(None),
            removing: AtomicBool::new(false),
            writing: Mutex::default(),
            telling: Mutex::default(),
        }
    }

    /// The container that a record tells of.
    pub(super) fn recovered(record: Record, pod: Arc<Pod>) -> Self {
        Self::new(record.made, pod, record.phase, record.resources)
    }

    pub(super) fn record(&self) -> Record {
        Record { made: Arc::clone(&self.made), phase: self.phase(), resources: self.resources() }
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase.borrow().clone()
    }

    /// Makes a change if it is legal now; says whether it was.
    pub(super) fn change(&self, change: Change) -> bool {
        self.phase.send_if_modified(|phase| match phase.after(&change) {
            Some(next) => {
                *phase = next;
                true
            }
            None => false,
        })
    }

    /// Waits until its main process has ended. Created containers never end by themselves.
    pub(super) async fn ended(&self) {
        // Fails only when the sender is gone, which `self` holds.
        let _ = self.phase.subscribe().wait_for(Phase::is_over).await;
    }

    pub(super) fn resources(&self) -> Resources {
        self.resources.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_resources(&self, resources: Resources) {
        *self.resources.lock().unwrap_or_else(PoisonError::into_inner) = resources;
    }

    pub(super) fn is_running(&self) -> bool {
        matches!(*self.phase.borrow(), Phase::Running { .. })
    }

    pub(super) fn is_removing(&self) -> bool {
        self.removing.load(Ordering::Acquire)
    }

    /// The error for an operation that needs a running container, unless it is one.
    pub(super) fn require_running(&self) -> Result<(), Error> {
        match self.phase() {
            Phase::Running { .. } => Ok(()),
            other => Err(Error::WrongState { container: self.id.clone(), state: other.name(), needed: "running" }),
        }
    }

    /// The error for an operation that a container must not be over for, if it is.
    pub(super) fn require_not_over(&self) -> Result<(), Error> {
        match self.phase() {
            Phase::Created | Phase::Running { .. } => Ok(()),
            other => {
                let needed = "created or running";
                Err(Error::WrongState { container: self.id.clone(), state: other.name(), needed })
            }
        }
    }

    pub(super) fn view(&self) -> ContainerView {
        let phase = self.phase();
        ContainerView {
            id: self.id.clone(),
            pod_id: self.pod_id.clone(),
            config: Arc::clone(&self.config),
            state: phase.state(),
            created_at: self.created_at,
            started_at: phase.started_at(),
            exit: phase.exit().cloned(),
            image_id: self.image_id,
            image_ref: self.image_ref.clone(),
            image_name: self.image_name.clone(),
            log_path: self.log_path.clone(),
            user: phase.user().map(|user| User { uid: user.uid, gid: user.gid, groups: user.groups.clone() }),
            resources: self.resources(),
            pid: phase.pid(),
            stop_signal: self.stop_signal,
            cgroup: self.cgroup.clone(),
        }
    }
}

impl Record {
    pub(super) fn id(&self) -> &Id {
        &self.made.id
    }

    pub(super) fn pod_id(&self) -> &Id {
        &self.made.pod_id
    }
}

impl Engine {
    /// The container with this id or beginning of an id.
    pub(super) fn find_container(&self, id: &str) -> Result<Arc<Container>, Error> {
        match self.containers.find(id) {
            Found::One(container) => Ok(container),
            Found::None => Err(Error::NoContainer(id.to_owned())),
            Found::Many => Err(Error::Ambiguous(id.to_owned())),
        }
    }

    /// Takes a container in: from now on it is found.
    pub(super) fn add_container(&self, container: &Arc<Container>) {
        container.pod.add(container);
        self.containers.insert(&container.id, Arc::clone(container));
    }

    /// Writes a container down as it is now; does nothing when it is being removed.
    pub(super) async fn save_container(&self, container: &Container) -> Result<(), Error> {
        let durable = {
            let _order = container.writing.lock().unwrap_or_else(PoisonError::into_inner);
            if container.is_removing() {
                return Ok(());
            }
            self.ledger.put(&super::ledger::CONTAINERS, &container.id, &container.record())
        };
        durable.await
    }

    /// Writes a container down, as what has become of it cannot be undone. If that fails, as on a full disk, it is tried
    /// again in the background; until then its monitor, or its record in the pod's directory, holds the truth.
    pub(super) async fn keep_container(self: &Arc<Self>, container: &Arc<Container>) {
        let Err(error) = self.save_container(container).await else { return };
        tracing::error!(container = %container.id, error = chain(&error), "a change could not be written down yet");
        let (engine, container) = (Arc::clone(self), Arc::clone(container));
        retry(move || {
            let (engine, container) = (Arc::clone(&engine), Arc::clone(&container));
            async move { engine.save_container(&container).await.is_ok() }
        });
    }

    /// Removes a container's record and keeps it from being written again.
    async fn forget_record(&self, container: &Container) -> Result<(), Error> {
        let durable = {
            let _order = container.writing.lock().unwrap_or_else(PoisonError::into_inner);
            container.removing.store(true, Ordering::Release);
            self.ledger.delete(&super::ledger::CONTAINERS, &container.id)
        };
        durable.await
    }
}
