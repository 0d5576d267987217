//! `berth update`

use std::process::ExitCode;

use clap::Args;

use super::{
    Session, each,
    error::{Answer as _, Error},
    lookup,
    resource_options::ResourceOptions,
};
use crate::wire::UpdateContainerResourcesRequest;

/// Change what running containers may use; what is not given stays as it is.
#[derive(Debug, Args)]
pub(super) struct Update {
    #[command(flatten)]
    resources: ResourceOptions,
    /// The containers
    #[arg(required = true)]
    containers: Vec<String>,
}

impl Update {
    pub(super) async fn perform(self, session: &mut Session) -> Result<ExitCode, Error> {
        let resources = self.resources.resources();
        each(&self.containers, session, async |session, given| {
            let request = UpdateContainerResourcesRequest {
                container_id: lookup::container(&mut session.engine, given).await?.id,
                linux: Some(resources.clone()),
                ..Default::default()
            };
            let updated = session.engine.runtime.update_container_resources(request).await;
            updated.during(format!("update container {given}")).map(drop)
        })
        .await
    }
}
