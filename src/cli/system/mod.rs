//! `berth system`: the engine as a whole.

mod reset;

use std::process::ExitCode;

use clap::Subcommand;

use super::error::Error;

/// Verbs on the engine as a whole.
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Remove everything of the engine from this host
    Reset(reset::Reset),
}

impl Verb {
    /// Works without an engine.
    pub(super) fn perform(self) -> Result<ExitCode, Error> {
        match self {
            Self::Reset(verb) => verb.perform(),
        }
    }
}
