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
    remote::{Interaction, Remote},
    units::parse_duration,
};
use crate::wire::{ExecRequest, ExecSyncRequest};

/// Run a command in a running container; the exit code is the command's.
#[derive(Debug, Args)]
pub(super) struct Exec {
    #[command(flatten)]
    interaction: Interaction,
    /// Kill the command after this time
    #[arg(long, value_name = "TIME", value_parser = parse_duration, conflicts_with_all = ["interactive", "tty"])]
    timeout: Option<Duration>,
    /// The container and the command
    #[arg(required = true, num_args = 2.., trailing_var_arg = true, value_names = ["CONTAINER", "COMMAND"])]
    container_and_command: Vec<String>,
}

impl Exec {
    pub(super) async fn perform(self, session: &mut Session) -> Result<ExitCode, Error> {
        let mut words = self.container_and_command.into_iter();
        let given = words.next().unwrap_or_default();
        let container = lookup::container(&mut session.engine, &given).await?.id;
        let operation = format!("execute in container {given}");
        // Only the call that collects all output knows a time limit, and can be shown as JSON.
        if session.json || self.timeout.is_some() {
            return collect(session, container, words.collect(), self.timeout, operation).await;
        }
        let Interaction { interactive, tty } = self.interaction;
        let request = ExecRequest {
            container_id: container,
            cmd: words.collect(),
            stdin: interactive,
            tty,
            stdout: true,
            // A terminal has one output.
            stderr: !tty,
        };
        let answer = session.engine.runtime.exec(request).await.during(operation)?;
        Remote::open(&answer.url, self.interaction).await?.run().await.map(exit_code)
    }
}

async fn collect(
    session: &mut Session,
    container_id: String,
    cmd: Vec<String>,
    timeout: Option<Duration>,
    operation: String,
) -> Result<ExitCode, Error> {
    // Whole seconds on the wire, and 0 is no timeout.
    let timeout = timeout.map_or(0, |timeout| timeout.as_secs_f64().ceil().max(1.0) as i64);
    let request = ExecSyncRequest { container_id, cmd, timeout };
    let answer = session.engine.runtime.exec_sync(request).await.during(operation)?;
    if session.json {
        json::print(&json::value(&answer))?;
    } else {
        super::print(&answer.stdout)?;
        io::stderr().write_all(&answer.stderr).map_err(Error::Output)?;
    }
    Ok(exit_code(answer.exit_code))
}

/// A command's exit code as our own.
pub(super) fn exit_code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}
