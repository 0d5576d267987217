//! `berth pod stop`

use std::process::ExitCode;

use clap::Args;

use crate::cli::{Session, each, error::Error, lookup};

/// Stop pods: kill their containers and give their network back.
#[derive(Debug, Args)]
pub(in crate::cli) struct Stop {
    /// The pods
    #[arg(required = true)]
    pods: Vec<String>,
}

impl Stop {
    pub(super) async fn perform(self, session: &mut Session) -> Result<ExitCode, Error> {
        each(&self.pods, session, async |session, given| {
            let pod = lookup::pod(&mut session.engine, given).await?;
            super::stop(&mut session.engine, &pod).await
        })
        .await
    }
}
