//! `berth rm`

use std::process::ExitCode;

use clap::Args;

use super::{
    Session, each,
    error::{Answer as _, Error},
    lookup, pod,
    pod_options::LogRoot,
    run::OWN_POD_LABEL,
};
use crate::wire::{ContainerState, RemoveContainerRequest};

/// Remove containers. The pod of a container that `berth run` made goes with it.
#[derive(Debug, Args)]
pub(super) struct Rm {
    /// Kill those that run
    #[arg(short, long)]
    force: bool,
    #[command(flatten)]
    logs: LogRoot,
    /// The containers
    #[arg(required = true)]
    containers: Vec<String>,
}

impl Rm {
    pub(super) async fn perform(self, session: &mut Session) -> Result<ExitCode, Error> {
        each(&self.containers, session, async |session, given| {
            let container = lookup::container(&mut session.engine, given).await?;
            if container.state() == ContainerState::ContainerRunning && !self.force {
                return Err(Error::Running { kind: "container", given: given.to_owned() });
            }
            if container.labels.contains_key(OWN_POD_LABEL) {
                let pod = lookup::pod(&mut session.engine, &container.pod_sandbox_id).await?;
                return pod::remove(&mut session.engine, &pod, &self.logs).await;
            }
            let request = RemoveContainerRequest { container_id: container.id };
            session.engine.runtime.remove_container(request).await.during(format!("remove container {given}"))?;
            Ok(())
        })
        .await
    }
}
