//! ListPodSandboxMetrics.

use std::sync::Arc;

use super::{
    ContainerMetrics, Engine, Error, Metrics, PodFilter, PodMetrics,
    container::Container,
    pod::Pod,
    usage::{measured, unless_missing, unreadable},
};
use crate::{
    error::chain,
    runtime::processes::{holdings, soft_limit_of_files},
    task::{blocking, blocking_each},
};

impl Engine {
    /// Measures all that there is to tell of the ready pods and the containers that run in them. Those that end meanwhile
    /// are left out.
    ///
    /// # Errors
    /// When the engine itself lacks something for it.
    pub async fn metrics(self: &Arc<Self>) -> Result<Metrics, Error> {
        let engine = Arc::clone(self);
        let work = move |pod: Arc<Pod>| engine.pod_metrics(&pod);
        let pods = blocking_each(self.ready_pods(&PodFilter::default()), work).await;
        let images = Arc::clone(self.images());
        let space = blocking(move || images.snapshot_space()).await;
        let space = space.inspect_err(|error| tracing::warn!(error = chain(error), "metrics lack a file system"));
        Ok(Metrics { pods: measured(pods)?, writable_layers: space.ok() })
    }

    fn pod_metrics(&self, pod: &Pod) -> Result<PodMetrics, Error> {
        let cgroup = self.parts.cgroups.open(&pod.cgroup).metrics();
        let containers = self.running_containers(pod);
        Ok(PodMetrics {
            pod: pod.view(),
            cgroup: unless_missing(cgroup, &pod.cgroup)?,
            interfaces: self.interfaces(pod)?,
            containers: measured(containers.iter().map(|container| self.container_metrics(container)))?,
        })
    }

    fn container_metrics(&self, container: &Container) -> Result<ContainerMetrics, Error> {
        let cgroup = self.parts.cgroups.open(&container.cgroup);
        let failed = |source| unreadable(&container.cgroup, source);
        let metrics = cgroup.metrics().map_err(failed)?;
        let pids = cgroup.processes().map_err(failed)?;
        Ok(ContainerMetrics {
            container: container.view(),
            cgroup: metrics,
            holdings: holdings(&pids),
            soft_limit_of_files: container.phase().pid().and_then(soft_limit_of_files),
            writable_layer: self.measure_layer(&container.id)?,
        })
    }
}
