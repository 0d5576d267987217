//! `berth pod rm`

use std::process::ExitCode;

use clap::Args;

use crate::{
    cli::{Session, each, error::Error, lookup, pod_options::LogRoot},
    wire::PodSandboxState,
};

/// Remove pods and their containers.
#[derive(Debug, Args)]
pub(in crate::cli) struct Rm {
    /// Stop those that are ready
    #[arg(short, long)]
    force: bool,
    /// All pods
    #[arg(short, long, conflicts_with = "pods")]
    all: bool,
    #[command(flatten)]
    logs: LogRoot,
    /// The pods
    #[arg(required_unless_present = "all")]
    pods: Vec<String>,
}

impl Rm {
    pub(super) async fn perform(self, session: &mut Session) -> Result<ExitCode, Error> {
        let wanted = if self.all {
            lookup::pods(&mut session.engine).await?.into_iter().map(|pod| pod.id).collect()
        } else {
            self.pods
        };
        each(&wanted, session, async |session, given| {
            let pod = lookup::pod(&mut session.engine, given).await?;
            if pod.state() == PodSandboxState::SandboxReady && !self.force {
                return Err(Error::Running { kind: "pod", given: given.to_owned() });
            }
            super::remove(&mut session.engine, &pod, &self.logs).await
        })
        .await
    }
}
