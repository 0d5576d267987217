//! ContainerStats and PodSandboxStats.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures_util::future::join_all;

use super::{
    ContainerFilter, ContainerState, ContainerUsage, Engine, Error, PodFilter, PodUsage,
    container::{Container, passes},
    pod::Pod,
};
use crate::{
    network::Network,
    runtime::cgroup,
    task::blocking,
    types::{FilesystemUsage, Id, Timestamp},
};

/// How old the measure of a writable layer may be: finding it means walking the layer's files.
const LAYER_AGE: Duration = Duration::from_secs(10);

/// What writable layers took when they were last measured.
#[derive(Debug, Default)]
pub(super) struct LayerCache(Mutex<HashMap<Id, (Instant, FilesystemUsage)>>);

impl LayerCache {
    fn recent(&self, id: &Id) -> Option<FilesystemUsage> {
        let cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cache.get(id).filter(|(at, _)| at.elapsed() < LAYER_AGE).map(|(_, usage)| usage.clone())
    }

    fn keep(&self, id: &Id, usage: FilesystemUsage) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), (Instant::now(), usage));
    }

    pub(super) fn forget(&self, id: &Id) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }
}

impl Engine {
    /// Measures one container.
    ///
    /// # Errors
    /// `NotFound`, or what kept its cgroup or its writable layer from being read.
    pub async fn container_usage(&self, id: &str) -> Result<ContainerUsage, Error> {
        let container = self.find_container(id)?;
        self.measure(&container).await
    }

    /// Measures the running containers that a filter lets through. Those that end meanwhile are left out.
    pub async fn container_usages(&self, filter: &ContainerFilter) -> Vec<ContainerUsage> {
        let mut containers = self.containers.all();
        containers
            .retain(|container| container.phase().state() == ContainerState::Running && passes(container, filter));
        self.measure_all(&containers).await
    }

    /// Measures one pod and the containers that run in it.
    ///
    /// # Errors
    /// `NotFound`, or what kept its cgroup or its network from being read.
    pub async fn pod_usage(&self, id: &str) -> Result<PodUsage, Error> {
        let pod = self.find_pod(id)?;
        self.measure_pod(&pod).await
    }

    /// Measures the ready pods that a filter lets through. Those that stop meanwhile are left out.
    pub async fn pod_usages(&self, filter: &PodFilter) -> Vec<PodUsage> {
        let views = self.pods(filter);
        let pods: Vec<_> =
            views.iter().filter_map(|view| self.pods.get(&view.id)).filter(|pod| pod.is_ready()).collect();
        join_all(pods.iter().map(|pod| self.measure_pod(pod))).await.into_iter().flatten().collect()
    }

    async fn measure_pod(&self, pod: &Arc<Pod>) -> Result<PodUsage, Error> {
        let mut containers = self.containers_of(pod);
        containers.retain(|container| container.phase().state() == ContainerState::Running);
        let cgroup = self.parts.cgroups.open(&pod.cgroup);
        let netns = (pod.has_own_network() && pod.is_ready()).then(|| pod.netns());
        let (stats, interfaces) = blocking(move || {
            let interfaces = netns.map_or_else(|| Ok(Vec::new()), |netns| Network::usage(&netns));
            (cgroup.stats(), interfaces)
        })
        .await;
        Ok(PodUsage {
            pod: self.pod(pod.id.as_str())?,
            at: Timestamp::now(),
            cgroup: stats.map_err(|source| unreadable(&pod.cgroup, source))?,
            interfaces: interfaces.map_err(|source| Error::Network {
                operation: "measure",
                pod: pod.id.clone(),
                source: Arc::new(source),
            })?,
            containers: self.measure_all(&containers).await,
        })
    }

    async fn measure_all(&self, containers: &[Arc<Container>]) -> Vec<ContainerUsage> {
        join_all(containers.iter().map(|container| self.measure(container))).await.into_iter().flatten().collect()
    }

    async fn measure(&self, container: &Arc<Container>) -> Result<ContainerUsage, Error> {
        let cgroup = self.parts.cgroups.open(&container.cgroup);
        let stats = match container.phase().state() {
            ContainerState::Running => {
                blocking(move || cgroup.stats()).await.map_err(|source| unreadable(&container.cgroup, source))?
            }
            _ => cgroup::Stats { at: Timestamp::now(), cpu: None, memory: None, pids: None, io: None },
        };
        Ok(ContainerUsage {
            container: container.view(),
            at: Timestamp::now(),
            cgroup: stats,
            writable_layer: self.measure_layer(&container.id).await?,
        })
    }

    async fn measure_layer(&self, id: &Id) -> Result<FilesystemUsage, Error> {
        if let Some(usage) = self.usage.recent(id) {
            return Ok(usage);
        }
        let usage = self
            .parts
            .images
            .snapshot_usage(id)
            .await
            .map_err(|source| Error::image("measure the writable layer of", format!("container {id}"), source))?;
        self.usage.keep(id, usage.clone());
        Ok(usage)
    }
}

fn unreadable(path: &str, source: cgroup::Error) -> Error {
    Error::Cgroup { operation: "measure", path: path.to_owned(), source: Arc::new(source) }
}
