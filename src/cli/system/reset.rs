//! `berth system reset`

use std::{
    io::{self, BufRead as _, IsTerminal as _, Write as _},
    process::ExitCode,
};

use clap::Args;

use crate::{
    cli::{error::Error, pod_options::LogRoot},
    daemon::{self, Flags},
};

const QUESTION: &str = "This removes all pods, containers and images of the engine from this host. Go on? [y/N] ";

/// Remove all pods, containers, images and records of the engine from this host. Its settings stay. The engine must not
/// run.
#[derive(Debug, Args)]
pub(crate) struct Reset {
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    #[command(flatten)]
    settings: Flags,
    #[command(flatten)]
    logs: LogRoot,
}

impl Reset {
    pub(super) fn perform(self) -> Result<ExitCode, Error> {
        if !self.force && !confirmed()? {
            return Ok(ExitCode::FAILURE);
        }
        daemon::reset(&self.settings).map_err(Error::Settings)?;
        self.logs.remove_all()?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Asks the person at the terminal.
fn confirmed() -> Result<bool, Error> {
    if !io::stdin().is_terminal() {
        return Err(Error::Unconfirmed);
    }
    io::stderr().write_all(QUESTION.as_bytes()).map_err(Error::Output)?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(Error::Input)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
