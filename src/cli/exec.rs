//! `berth exec`

use std::{
    io::{self, Write as _},
    process::ExitCode,
    time::Duration,
};

use clap::Args;

use super::{
    Session,
    error::{Answer as _, Error},
    json, lookup,
    units::parse_duration,
};
use crate::wire::ExecSyncRequest;

/// Run a command in a running container and print what it wrote; the exit code is the command's.
#[derive(Debug, Args)]
pub(super) struct Exec {
    /// Kill the command after this time
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    timeout: Option<Duration>,
    /// The container and the command
    #[arg(required = true, num_args = 2.., trailing_var_arg = true, value_names = ["CONTAINER", "COMMAND"])]
    container_and_command: Vec<String>,
}

impl Exec {
    pub(super) async fn perform(self, session: &mut Session) -> Result<ExitCode, Error> {
        let mut words = self.container_and_command.into_iter();
        let given = words.next().unwrap_or_default();
        let container = lookup::container(&mut session.engine, &given).await?;
        let request = ExecSyncRequest {
            container_id: container.id,
            cmd: words.collect(),
            // Whole seconds on the wire, and 0 is no timeout.
            timeout: self.timeout.map_or(0, |timeout| timeout.as_secs_f64().ceil().max(1.0) as i64),
        };
        let answer = session.engine.runtime.exec_sync(request).await.during(format!("execute in container {given}"))?;
        if session.json {
            json::print(&json::value(&answer))?;
        } else {
            super::print(&answer.stdout)?;
            io::stderr().write_all(&answer.stderr).map_err(Error::Output)?;
        }
        Ok(exit_code(answer.exit_code))
    }
}

/// A command's exit code as our own.
pub(super) fn exit_code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}
