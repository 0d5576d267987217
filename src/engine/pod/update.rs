//! UpdatePodSandboxResources.

use std::sync::Arc;

use crate::{
    engine::{Engine, Error},
    runtime::cgroup::{self, Limits},
    task::blocking,
    types::Resources,
};

impl Engine {
    /// Sets the limits of a pod's cgroup: what its containers together may use. Fields that are not set keep their
    /// value.
    ///
    /// # Errors
    /// `InvalidArgument` for limits that cannot be, `FailedPrecondition` when the pod is not ready, the kernel's refusal
    /// otherwise.
    pub async fn update_pod_resources(&self, id: &str, resources: Resources) -> Result<(), Error> {
        let pod = self.find_pod(id)?;
        let _shared = pod.gate.read().await;
        pod.monitor()?;
        let failed = |operation, source: cgroup::Error| Error::Cgroup {
            operation,
            path: pod.cgroup.clone(),
            source: Arc::new(source),
        };
        let limits = Limits::plan(&resources, None, self.parts.cgroups.version())
            .map_err(|source| failed("plan limits of", source.into()))?;
        let cgroup = self.parts.cgroups.open(&pod.cgroup);
        blocking(move || cgroup.apply(&limits)).await.map_err(|source| failed("set limits of", source))
    }
}
