//! ContainerStats and PodSandboxStats.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{
    ContainerFilter, ContainerState, ContainerUsage, Engine, Error, PodFilter, PodUsage,
    container::{Container, passes},
    cpu_rate::CpuRate,
    pod::Pod,
};
use crate::{
    error::{Classify as _, Kind},
    network::{InterfaceUsage, Network},
    runtime::cgroup,
    task::{blocking, blocking_each},
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
    pub async fn container_usage(self: &Arc<Self>, id: &str) -> Result<ContainerUsage, Error> {
        let (engine, container) = (Arc::clone(self), self.find_container(id)?);
        blocking(move || engine.measure(&container)).await
    }

    /// Measures the running containers that a filter lets through. Those that end meanwhile are left out.
    ///
    /// # Errors
    /// When the engine itself lacks something for it.
    pub async fn container_usages(self: &Arc<Self>, filter: &ContainerFilter) -> Result<Vec<ContainerUsage>, Error> {
        let mut containers = self.containers.all();
        containers.retain(|container| container.is_running() && passes(container, filter));
        let engine = Arc::clone(self);
        measured(blocking_each(containers, move |container| engine.measure(&container)).await)
    }

    /// Measures one pod and the containers that run in it.
    ///
    /// # Errors
    /// `NotFound`, or what kept its cgroup or its network from being read.
    pub async fn pod_usage(self: &Arc<Self>, id: &str) -> Result<PodUsage, Error> {
        let (engine, pod) = (Arc::clone(self), self.find_pod(id)?);
        blocking(move || engine.measure_pod(&pod)).await
    }

    /// Measures the ready pods that a filter lets through. Those that stop meanwhile are left out.
    ///
    /// # Errors
    /// When the engine itself lacks something for it.
    pub async fn pod_usages(self: &Arc<Self>, filter: &PodFilter) -> Result<Vec<PodUsage>, Error> {
        let engine = Arc::clone(self);
        measured(blocking_each(self.ready_pods(filter), move |pod| engine.measure_pod(&pod)).await)
    }

    pub(super) fn ready_pods(&self, filter: &PodFilter) -> Vec<Arc<Pod>> {
        let views = self.pods(filter);
        views.iter().filter_map(|view| self.pods.get(&view.id)).filter(|pod| pod.is_ready()).collect()
    }

    pub(super) fn running_containers(&self, pod: &Pod) -> Vec<Arc<Container>> {
        let mut containers = pod.containers();
        containers.retain(|container| container.is_running());
        containers
    }

    fn measure_pod(&self, pod: &Pod) -> Result<PodUsage, Error> {
        let at = Timestamp::now();
        let cgroup = self.parts.cgroups.open(&pod.cgroup);
        let stats = unless_missing(cgroup.stats(), &pod.cgroup)?;
        let stats = stats.unwrap_or_else(|| cgroup::Stats { at, ..Default::default() });
        let containers = self.running_containers(pod);
        Ok(PodUsage {
            pod: pod.view(),
            at,
            cpu_rate: rate(&pod.cpu_rate, &stats),
            cgroup: stats,
            tasks: cgroup.tasks().map_err(|source| unreadable(&pod.cgroup, source))?,
            interfaces: self.interfaces(pod)?,
            containers: measured(containers.iter().map(|container| self.measure(container)))?,
        })
    }

    /// What has passed through a pod's links; none on the host's network, which is not the pod's to count.
    pub(super) fn interfaces(&self, pod: &Pod) -> Result<Vec<InterfaceUsage>, Error> {
        if !(pod.has_own_network() && pod.is_ready()) {
            return Ok(Vec::new());
        }
        Network::usage(&pod.netns()).map_err(|source| Error::Network {
            operation: "measure",
            pod: pod.id.clone(),
            source: Arc::new(source),
        })
    }

    fn measure(&self, container: &Container) -> Result<ContainerUsage, Error> {
        let at = Timestamp::now();
        let cgroup = match container.phase().state() {
            ContainerState::Running => self
                .parts
                .cgroups
                .open(&container.cgroup)
                .stats()
                .map_err(|source| unreadable(&container.cgroup, source))?,
            _ => cgroup::Stats { at, ..Default::default() },
        };
        Ok(ContainerUsage {
            container: container.view(),
            at,
            cpu_rate: rate(&container.cpu_rate, &cgroup),
            cgroup,
            writable_layer: self.measure_layer(&container.id)?,
        })
    }

    pub(super) fn measure_layer(&self, id: &Id) -> Result<FilesystemUsage, Error> {
        if let Some(usage) = self.usage.recent(id) {
            return Ok(usage);
        }
        let usage = self
            .parts
            .images
            .snapshot_usage(id)
            .map_err(|source| Error::image("measure the writable layer of", format!("container {id}"), source))?;
        self.usage.keep(id, usage.clone());
        Ok(usage)
    }
}

/// What could be measured. What has ended meanwhile is left out; an engine that lacks something, as descriptors, would
/// leave out what goes on, and fails.
pub(super) fn measured<T>(results: impl IntoIterator<Item = Result<T, Error>>) -> Result<Vec<T>, Error> {
    let counts = |result: &Result<T, Error>| match result {
        Ok(_) => true,
        Err(error) => error.kind() == Kind::ResourceExhausted,
    };
    results.into_iter().filter(counts).collect()
}

fn rate(cpu_rate: &CpuRate, stats: &cgroup::Stats) -> Option<u64> {
    stats.cpu.as_ref().and_then(|cpu| cpu_rate.update(stats.at, cpu.usage_ns))
}

/// A caller's cgroup for a pod may not be there before the pod's first container; then there is nothing to tell.
pub(super) fn unless_missing<T>(measured: Result<T, cgroup::Error>, path: &str) -> Result<Option<T>, Error> {
    match measured {
        Ok(measured) => Ok(Some(measured)),
        Err(error) if error.kind() == Kind::NotFound => Ok(None),
        Err(error) => Err(unreadable(path, error)),
    }
}

pub(super) fn unreadable(path: &str, source: cgroup::Error) -> Error {
    Error::Cgroup { operation: "measure", path: path.to_owned(), source: Arc::new(source) }
}
