//! `berth inspect`

use std::process::ExitCode;

use clap::Args;

use super::{
    Session,
    error::{Answer as _, Error},
    json, lookup,
};
use crate::wire::ContainerStatusRequest;

/// Print all that is known about containers, as JSON.
#[derive(Debug, Args)]
pub(super) struct Inspect {
    /// The containers
    #[arg(required = true)]
    containers: Vec<String>,
}

impl Inspect {
    pub(super) async fn perform(self, session: &mut Session) -> Result<ExitCode, Error> {
        let mut values = Vec::new();
        for given in &self.containers {
            let id = lookup::container(&mut session.engine, given).await?.id;
            let request = ContainerStatusRequest { container_id: id, verbose: true };
            let operation = format!("inspect container {given}");
            let answer = session.engine.runtime.container_status(request).await.during(&operation)?;
            let status = answer.status.ok_or(Error::Incomplete { operation, missing: "status" })?;
            values.push(json::verbose(&status, &answer.info));
        }
        json::print(&values.into())?;
        Ok(ExitCode::SUCCESS)
    }
}
