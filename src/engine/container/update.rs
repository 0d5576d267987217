//! UpdateContainerResources.

use std::sync::Arc;

use super::{Container, Phase};
use crate::{
    engine::{Engine, Error},
    fault,
    runtime::cgroup::Limits,
    task::blocking,
    types::Resources,
};

impl Engine {
    /// Changes a container's limits: at once when it runs, at its start when it does not run yet. Fields that are not
    /// set keep their value.
    ///
    /// # Errors
    /// `InvalidArgument` for limits that cannot be; the kernel's refusal otherwise, with the old limits in force.
    pub async fn update_resources(&self, id: &str, changes: Resources) -> Result<(), Error> {
        let container = self.find_container(id)?;
        let _gate = container.gate.lock().await;
        let resources = merged(container.resources(), changes);
        if matches!(container.phase(), Phase::Running { .. }) {
            self.apply_limits(&container, &resources).await?;
        } else {
            self.plan_limits(&container, &resources)?;
        }
        fault::point("container.update.applied");
        container.set_resources(resources);
        self.save_container(&container).await
    }

    async fn apply_limits(&self, container: &Arc<Container>, resources: &Resources) -> Result<(), Error> {
        let limits = self.plan_limits(container, resources)?;
        let cgroup = self.parts.cgroups.open(&container.cgroup);
        let applied = blocking(move || cgroup.apply(&limits)).await;
        applied.map_err(|source| cgroup_failed("set limits of", container, source))
    }

    /// Checks limits. Devices stay as they were planned at the start.
    fn plan_limits(&self, container: &Container, resources: &Resources) -> Result<Limits, Error> {
        Limits::plan(resources, None, self.parts.cgroups.version())
            .map_err(|source| cgroup_failed("plan", container, source.into()))
    }
}

fn cgroup_failed(operation: &'static str, container: &Container, source: crate::runtime::cgroup::Error) -> Error {
    Error::Cgroup { operation, path: container.cgroup.clone(), source: Arc::new(source) }
}

/// `changes` over `present`: what is zero or empty in the changes stays.
fn merged(present: Resources, changes: Resources) -> Resources {
    let number = |new: i64, old: i64| if new != 0 { new } else { old };
    let text = |new: String, old: String| if new.is_empty() { old } else { new };
    let mut unified = present.unified;
    unified.extend(changes.unified);
    Resources {
        cpu_period: number(changes.cpu_period, present.cpu_period),
        cpu_quota: number(changes.cpu_quota, present.cpu_quota),
        cpu_shares: number(changes.cpu_shares, present.cpu_shares),
        memory_limit: number(changes.memory_limit, present.memory_limit),
        memory_swap_limit: number(changes.memory_swap_limit, present.memory_swap_limit),
        oom_score_adj: number(changes.oom_score_adj, present.oom_score_adj),
        cpuset_cpus: text(changes.cpuset_cpus, present.cpuset_cpus),
        cpuset_mems: text(changes.cpuset_mems, present.cpuset_mems),
        hugepage_limits: if changes.hugepage_limits.is_empty() {
            present.hugepage_limits
        } else {
            changes.hugepage_limits
        },
        unified,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_set_in_an_update_stays() {
        let present = Resources { memory_limit: 100, cpu_shares: 5, cpuset_cpus: "0".into(), ..Resources::default() };
        let changes = Resources { memory_limit: 200, cpu_quota: -1, ..Resources::default() };
        let after = merged(present, changes);
        assert_eq!((after.memory_limit, after.cpu_shares, after.cpu_quota), (200, 5, -1));
        assert_eq!(after.cpuset_cpus, "0");
    }
}
