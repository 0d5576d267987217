//! `berth pod inspect`

use std::process::ExitCode;

use clap::Args;

use crate::{
    cli::{
        Session,
        error::{Answer as _, Error},
        json, lookup,
    },
    wire::PodSandboxStatusRequest,
};

/// Print all that is known about pods, as JSON.
#[derive(Debug, Args)]
pub(in crate::cli) struct Inspect {
    /// The pods
    #[arg(required = true)]
    pods: Vec<String>,
}

impl Inspect {
    pub(super) async fn perform(self, session: &mut Session) -> Result<ExitCode, Error> {
        let mut values = Vec::new();
        for given in &self.pods {
            let id = lookup::pod(&mut session.engine, given).await?.id;
            let request = PodSandboxStatusRequest { pod_sandbox_id: id, verbose: true };
            let operation = format!("inspect pod {given}");
            let answer = session.engine.runtime.pod_sandbox_status(request).await.during(&operation)?;
            let status = answer.status.ok_or(Error::Incomplete { operation, missing: "status" })?;
            values.push(json::verbose(&status, &answer.info));
        }
        json::print(&values.into())?;
        Ok(ExitCode::SUCCESS)
    }
}
