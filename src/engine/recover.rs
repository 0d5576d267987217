//! What a new daemon makes of what the last one left.
//!
//! It rests on these assumptions:
//! - a record in the state database was written before its operation was answered; what has no record was promised to
//!   nobody and is undone;
//! - within one boot a pod's monitor holds the truth about its containers: who runs, who ended and how;
//! - after a reboot nothing runs, whatever the records say;
//! - everything of a pod that is not in the database is below its directory in the run directory, in its cgroup, or
//!   with the network, which is told who lives.

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    path::Path,
    sync::Arc,
};

use futures_util::future::join_all;

use super::{
    Engine, Error,
    container::{Change, Container, Phase},
    ledger, names,
    pod::{
        self, Contact, Pod,
        monitor::{exit_without_monitor, recorded_end},
    },
};
use crate::{
    error::chain,
    fault,
    monitor::client::{Held, Monitor},
    state::{Boot, claim_run_dir},
    task::blocking,
    types::{ExitStatus, Id, Timestamp},
};

impl Engine {
    /// Brings memory, kernel and database to one state. Called once, before anybody is answered.
    pub(super) async fn recover(self: &Arc<Self>) -> Result<(), Error> {
        let boot = claim_run_dir(&self.config.run)
            .map_err(|source| Error::State { operation: "claim the run directory of", source: Arc::new(source) })?;
        self.load_records()?;
        fault::point("recover.records");
        let pods = self.pods.all();
        join_all(pods.iter().map(|pod| self.recover_pod(pod, boot))).await;
        fault::point("recover.pods");
        self.sweep_pods().await?;
        fault::point("recover.swept");
        self.resume_removals();
        self.sweep_snapshots().await;
        let live: HashSet<Id> = pods.iter().filter(|pod| pod.is_ready()).map(|pod| pod.id.clone()).collect();
        match self.parts.network.recover(&live).await {
            Ok(recovery) if recovery.released.is_empty() => {}
            Ok(recovery) => {
                tracing::info!(pods = recovery.released.len(), "gave back the network of pods that are gone")
            }
            Err(error) => tracing::error!(error = chain(&error), "the pod network could not be recovered"),
        }
        tracing::info!(pods = self.pods.len(), containers = self.containers.len(), ?boot, "recovered");
        Ok(())
    }

    fn load_records(&self) -> Result<(), Error> {
        for record in self.ledger.load(&ledger::PODS)? {
            let dir = self.pod_dir(record.id());
            let pod = Arc::new(Pod::recovered(record, dir));
            self.keep_name(names::of_pod(&pod.config.metadata), &pod.id);
            self.reserve_level(&pod.selinux_level);
            self.pods.insert(&pod.id.clone(), pod);
        }
        for record in self.ledger.load(&ledger::CONTAINERS)? {
            let Some(pod) = self.pods.get(record.pod_id()) else {
                tracing::warn!(container = %record.id(), "a container's pod has no record; the container is left out");
                continue;
            };
            let container = Arc::new(Container::recovered(record, pod));
            self.keep_name(names::of_container(&container.config.metadata, &container.pod_id), &container.id);
            self.add_container(&container);
        }
        Ok(())
    }

    fn keep_name(&self, name: String, id: &Id) {
        match self.names.reserve(name, id) {
            Ok(reservation) => reservation.keep(),
            Err(error) => tracing::warn!(error = chain(&error), "two records have the same name"),
        }
    }

    async fn recover_pod(self: &Arc<Self>, pod: &Arc<Pod>, boot: Boot) {
        let held = match boot {
            Boot::Same if pod.was_ready() => self.find_monitor(pod).await,
            _ => Some(HashMap::new()),
        };
        let containers = pod.containers();
        if let Some(held) = held {
            join_all(containers.iter().map(|container| self.recover_container(container, &held, boot))).await;
        }
        if pod.is_ready() {
            self.watch_pod(pod);
        } else if pod.was_ready() {
            tracing::warn!(pod = %pod.id, "the pod did not survive");
            let dir = pod.dir.clone();
            if let Err(error) = blocking(move || pod::run::remove_dir(&dir)).await {
                tracing::warn!(pod = %pod.id, error = chain(&error), "something of the pod is left");
            }
            if let Err(error) = self.save_pod(pod).await {
                tracing::error!(pod = %pod.id, error = chain(&error), "the pod's state could not be written down");
            }
        }
    }

    /// Finds the monitor of a pod that was ready; makes the pod ready again if there is one. Returns what it holds;
    /// `None` when it cannot say.
    async fn find_monitor(&self, pod: &Pod) -> Option<HashMap<Id, Held>> {
        match Monitor::connect(&pod.dir).await {
            Ok((monitor, snapshot)) => {
                pod.set_found(Contact::Monitor(monitor));
                Some(snapshot.by_id())
            }
            Err(error) if error.says_that_nobody_lives() => {
                tracing::warn!(pod = %pod.id, error = chain(&error), "the pod's monitor has died");
                Some(HashMap::new())
            }
            Err(error) => {
                tracing::error!(pod = %pod.id, error = chain(&error), "the pod goes on, but its monitor cannot be reached");
                pod.set_found(Contact::Estranged(Arc::new(error)));
                None
            }
        }
    }

    /// Brings a container's record up to what its monitor knows.
    pub(super) async fn recover_container(
        self: &Arc<Self>,
        container: &Arc<Container>,
        held: &HashMap<Id, Held>,
        boot: Boot,
    ) {
        let before = container.phase();
        match held.get(&container.id) {
            Some(held) => {
                let user = held.user.clone();
                container.change(Change::Started { pid: held.pid, at: held.started_at, user });
                if let Some(status) = &held.exit {
                    container.change(Change::Ended(status.clone()));
                }
            }
            None if before.is_over() => {}
            // Of a start that failed no monitor knows.
            None if before == Phase::Created && container.pod.is_ready() => {
                if let Some(status) = recorded_end(container) {
                    container.change(Change::Ended(status));
                }
            }
            None => {
                let status = match boot {
                    Boot::New => ExitStatus::unknown("the machine was restarted", Timestamp::now()),
                    Boot::Same => {
                        self.kill_cgroup(container).await;
                        exit_without_monitor(container)
                    }
                };
                container.change(Change::Ended(status));
            }
        }
        if container.phase() != before {
            self.keep_container(container).await;
        }
    }

    /// Undoes pods that were in the making: those that have a directory but no record.
    async fn sweep_pods(&self) -> Result<(), Error> {
        let dir = self.config.run.join("pods");
        for id in ids_in(&dir)? {
            let known = self.pods.get(&id).is_some_and(|pod| pod.is_ready());
            if !known {
                self.sweep_pod(&id).await;
            }
        }
        Ok(())
    }

    async fn sweep_pod(&self, id: &Id) {
        let dir = self.pod_dir(id);
        self.end_unknown_monitor(id, &dir).await;
        if let Err(error) = blocking(move || pod::run::remove_dir(&dir)).await {
            tracing::warn!(pod = %id, error = chain(&error), "something of an unfinished pod is left");
        }
        let Ok(path) = self.config.cgroup_driver.pod("", &self.config.cgroup_root, id) else { return };
        self.remove_cgroup(&path).await;
    }

    /// Removes writable layers of containers that have no record.
    async fn sweep_snapshots(&self) {
        for id in self.parts.images.snapshots() {
            if self.containers.get(&id).is_none()
                && let Err(error) = self.remove_snapshot(&id).await
            {
                tracing::warn!(container = %id, error = chain(&error), "a writable layer of nobody is left");
            }
        }
    }
}

/// The ids that entries of a directory are named by; no directory has none.
fn ids_in(dir: &Path) -> Result<Vec<Id>, Error> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(Error::file("read", dir, source)),
    };
    Ok(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}
