//! `berth completion`

use std::process::ExitCode;

use clap::{Args, Command};
use clap_complete::{Shell, generate};

use super::error::Error;

/// Print a completion script for a shell.
#[derive(Debug, Args)]
pub(super) struct Completion {
    /// The shell
    shell: Shell,
}

impl Completion {
    pub(super) fn perform(self, command: &mut Command) -> Result<ExitCode, Error> {
        // Made in memory: the generator panics when it cannot write.
        let mut script = Vec::new();
        generate(self.shell, command, "berth", &mut script);
        super::print(&script)?;
        Ok(ExitCode::SUCCESS)
    }
}
