//! StopPodSandbox: its containers are killed, its network is given back, its namespaces go.

use std::{sync::Arc, time::Duration};

use futures_util::future::{join_all, try_join, try_join_all};

use super::Pod;
use crate::{
    engine::{
        Engine, Error, EventKind,
        container::{Container, hooks},
        recover::exit_without_monitor,
    },
    error::chain,
    fault,
    monitor::client::Monitor,
    task::blocking,
    types::NamespaceMode,
};

/// How long a stop waits for killed containers to end before it answers; what is left ends in the background.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

impl Engine {
    /// Stops a pod: kills what runs in it and gives its network back. A pod that is not there, or is stopped, is no
    /// error. The answer comes in bounded time even when a process cannot be killed.
    ///
    /// # Errors
    /// When its network cannot be given back or its state cannot be written; calling again goes on from there.
    pub async fn stop_pod(self: &Arc<Self>, id: &str) -> Result<(), Error> {
        let pod = match self.find_pod(id) {
            Ok(pod) => pod,
            Err(Error::NoPod(_)) => return Ok(()),
            Err(error) => return Err(error),
        };
        let engine = Arc::clone(self);
        // A task of its own: a caller that goes away must not leave the pod half stopped.
        let stopping = self.tasks.spawn(async move {
            let _exclusive = pod.gate.write().await;
            engine.stop_found_pod(&pod).await
        });
        stopping.await.unwrap_or(Err(Error::Panicked("stopping a pod")))
    }

    /// Stops a pod whose gate the caller holds.
    pub(in crate::engine) async fn stop_found_pod(self: &Arc<Self>, pod: &Arc<Pod>) -> Result<(), Error> {
        let containers = pod.containers();
        let kills = containers.iter().map(|container| self.kill_for_stop(container));
        join_all(kills).await;
        fault::point("pod.stop.killed");
        let ended = containers.iter().filter(|container| container.phase().is_over());
        join_all(ended.map(|container| hooks::finished(container))).await;
        // The monitor's own records of their ends go with it: after this the database has them.
        try_join(self.detach_network(pod), self.save_containers(&containers)).await?;
        fault::point("pod.stop.network");
        let was_ready = pod.is_ready();
        let monitor = pod.set_not_ready();
        self.end_monitor(pod, monitor).await;
        fault::point("pod.stop.monitor");
        let dir = pod.dir.clone();
        blocking(move || super::run::remove_dir(&dir)).await?;
        fault::point("pod.stop.directory");
        if was_ready {
            self.save_pod(pod).await?;
            self.tell_of_pod(pod, EventKind::Stopped);
        }
        Ok(())
    }

    async fn save_containers(&self, containers: &[Arc<Container>]) -> Result<(), Error> {
        try_join_all(containers.iter().map(|container| self.save_container(container))).await.map(drop)
    }

    async fn kill_for_stop(self: &Arc<Self>, container: &Arc<Container>) {
        if let Err(error) = self.kill_and_wait(container, KILL_PATIENCE).await {
            tracing::warn!(container = %container.id, error = chain(&error), "a container outlives its pod's stop");
        }
    }

    pub(in crate::engine) async fn detach_network(&self, pod: &Pod) -> Result<(), Error> {
        if !pod.has_own_network() {
            return Ok(());
        }
        self.parts.network.detach(&pod.id).await.map_err(|source| Error::Network {
            operation: "give back",
            pod: pod.id.clone(),
            source: Arc::new(source),
        })
    }

    /// Ends a pod's monitor and removes the cgroups that are the engine's. Never fails: what cannot be ended is logged.
    pub(in crate::engine) async fn end_monitor(&self, pod: &Pod, monitor: Option<Arc<Monitor>>) {
        if let Some(monitor) = monitor
            && let Err(error) = monitor.shutdown().await
        {
            tracing::warn!(pod = %pod.id, error = chain(&error), "the monitor did not shut down as asked");
        }
        // In a caller's cgroup, only that of the pod's own init is ours.
        let path = match pod.owns_cgroup() {
            true => Some(pod.cgroup.clone()),
            false if pod.config.namespaces.pid == NamespaceMode::Pod => {
                Some(self.config.cgroup_driver.container(&pod.cgroup, &pod.id))
            }
            false => None,
        };
        if let Some(path) = path {
            self.remove_cgroup(&path).await;
        }
    }

    /// What becomes of a pod whose monitor has died: its containers are killed by cgroup and their ends are unknown.
    pub(in crate::engine) async fn lose_monitor(self: &Arc<Self>, pod: &Arc<Pod>) {
        if pod.set_not_ready().is_none() {
            return;
        }
        tracing::error!(pod = %pod.id, "the pod's monitor has died; its containers are killed");
        for container in pod.containers() {
            if !container.phase().is_over() {
                self.kill_cgroup(&container).await;
                self.record_exit(&container, exit_without_monitor(&container)).await;
            }
        }
        if let Err(error) = self.save_pod(pod).await {
            tracing::error!(pod = %pod.id, error = chain(&error), "the loss of the monitor could not be written down");
        }
        self.tell_of_pod(pod, EventKind::Stopped);
    }
}
