//! StopPodSandbox: its containers are killed, its network is given back, its namespaces go.

use std::{sync::Arc, time::Duration};

use futures_util::future::{join_all, try_join, try_join_all};

use tokio::{sync::RwLockWriteGuard, time::timeout};

use super::Pod;
use crate::{
    engine::{
        Engine, Error, EventKind,
        container::{Container, Phase, hooks},
    },
    error::chain,
    fault,
    task::blocking,
};

/// How long a stop waits for launches in the pod before it kills what is being launched.
const LAUNCH_PATIENCE: Duration = Duration::from_secs(2);
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
            let _exclusive = engine.gate_for_end(&pod).await;
            engine.stop_found_pod(&pod).await
        });
        stopping.await.unwrap_or(Err(Error::Panicked("stopping a pod")))
    }

    /// Takes a pod's gate for its end. Launches hold it, too; one that hangs, as on a mount source whose server does not
    /// answer, is not waited for: it is killed, and fails.
    pub(in crate::engine) async fn gate_for_end<'a>(&self, pod: &'a Pod) -> RwLockWriteGuard<'a, ()> {
        if let Ok(gate) = timeout(LAUNCH_PATIENCE, pod.gate.write()).await {
            return gate;
        }
        let launching = pod.containers().into_iter().filter(|container| container.phase() == Phase::Created);
        join_all(launching.map(|container| self.kill_launch(container))).await;
        pod.gate.write().await
    }

    async fn kill_launch(&self, container: Arc<Container>) {
        let cgroup = self.parts.cgroups.open(&container.cgroup);
        if let Err(error) = blocking(move || cgroup.kill()).await {
            // Not made yet, or nothing dies in it: the launch has a deadline of its own.
            tracing::info!(container = %container.id, error = chain(&error), "a launch could not be killed");
        }
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
        let contact = pod.set_not_ready();
        self.end_monitor(pod, contact).await;
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
}
