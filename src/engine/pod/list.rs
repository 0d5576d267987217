//! PodSandboxStatus and ListPodSandbox.

use std::collections::BTreeMap;

use crate::{
    engine::{Engine, Error, PodFilter, PodView},
    runtime::plan,
};

impl Engine {
    /// The pod with this id or beginning of an id.
    ///
    /// # Errors
    /// `NotFound`, or `InvalidArgument` when several ids begin so.
    pub fn pod(&self, id: &str) -> Result<PodView, Error> {
        self.find_pod(id).map(|pod| pod.view())
    }

    /// What a pod is made of as an OCI runtime specification, for people who debug and their tools.
    ///
    /// # Errors
    /// As [`Self::pod`].
    pub fn pod_spec(&self, id: &str) -> Result<serde_json::Value, Error> {
        self.find_pod(id).map(|pod| plan::pod_spec(&pod.config, &pod.dir, &pod.cgroup))
    }

    /// The pods that a filter lets through.
    pub fn pods(&self, filter: &PodFilter) -> Vec<PodView> {
        let pods = self.pods.all();
        pods.iter()
            .filter(|pod| filter.id.as_ref().is_none_or(|id| pod.id.as_str().starts_with(id.as_str())))
            .filter(|pod| carries(&pod.config.labels, &filter.labels))
            .map(|pod| pod.view())
            .filter(|view| filter.state.is_none_or(|state| view.state == state))
            .collect()
    }
}

/// `true` when all `wanted` labels are among `labels`.
pub(in crate::engine) fn carries(labels: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
}
