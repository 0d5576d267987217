//! ContainerStatus and ListContainers.

use std::{cmp::Reverse, sync::Arc};

use super::Container;
use crate::{
    engine::{ContainerFilter, ContainerView, Engine, Error, pod::list::carries},
    runtime::plan,
};

impl Engine {
    /// The container with this id or beginning of an id.
    ///
    /// # Errors
    /// `NotFound`, or `InvalidArgument` when several ids begin so.
    pub fn container(&self, id: &str) -> Result<ContainerView, Error> {
        self.find_container(id).map(|container| container.view())
    }

    /// The plan that a container runs by, as JSON for people who debug.
    ///
    /// # Errors
    /// As [`Self::container`], and when what it is planned from is gone.
    pub fn container_plan(&self, id: &str) -> Result<serde_json::Value, Error> {
        let container = self.find_container(id)?;
        let plan = self.plan(&container)?;
        Ok(serde_json::to_value(plan).unwrap_or_default())
    }

    /// The same as an OCI runtime specification.
    ///
    /// # Errors
    /// As [`Self::container_plan`].
    pub fn container_spec(&self, id: &str) -> Result<serde_json::Value, Error> {
        let container = self.find_container(id)?;
        let plan = self.plan(&container)?;
        Ok(plan::container_spec(&plan, &container.pod.config, &container.pod.dir))
    }

    /// The containers that a filter lets through, the newest first.
    pub fn containers(&self, filter: &ContainerFilter) -> Vec<ContainerView> {
        let mut containers = self.containers.all();
        containers.retain(|container| passes(container, filter));
        newest_first(&mut containers);
        containers.iter().map(|container| container.view()).collect()
    }
}

/// Of several containers of one name in a pod's status, kubelet takes the first for the present one.
pub(in crate::engine) fn newest_first(containers: &mut [Arc<Container>]) {
    containers.sort_by_key(|container| Reverse(container.created_at));
}

pub(in crate::engine) fn passes(container: &Container, filter: &ContainerFilter) -> bool {
    let begins =
        |id: &str, wanted: &Option<String>| wanted.as_ref().is_none_or(|wanted| id.starts_with(wanted.as_str()));
    begins(container.id.as_str(), &filter.id)
        && begins(container.pod_id.as_str(), &filter.pod_id)
        && filter.state.is_none_or(|state| container.phase().state() == state)
        && carries(&container.config.labels, &filter.labels)
}
