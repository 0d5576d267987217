//! The daemon: `berth serve`.
//!
//! - **Owns:** settings, the socket, the order in which the rooms are set up and shut down, the log, metrics.
//! - **Never:** knows what a pod is made of.
//! - **Runs in:** the daemon.
//! - **Start reading at:** `assemble.rs`, which tells the whole life of the process.
//!
//! On disk, in the state directory: `lock`, held by the one engine that may use the directory, and `berth.sock`. Other
//! rooms own what else is there and in the root directory.

mod assemble;
mod authority;
mod config;
mod doctor;
mod error;
mod listen;
mod metrics;
mod notify;
mod reset;
mod serve;
mod signal;
mod telemetry;

use std::{
    ffi::OsString,
    io::{self, Write as _},
    process::ExitCode,
};

use clap::Parser as _;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use self::authority::fuzz;
pub(crate) use self::{
    config::Flags,
    doctor::{Finding, Level},
    error::Error,
};
use crate::error::chain;

/// Command line of `berth serve`.
#[derive(Debug, clap::Parser)]
#[command(name = "berth serve", bin_name = "berth serve", about = "Run the engine", after_help = config::HELP)]
struct CommandLine {
    /// Print all settings with their defaults, as a file to start from
    #[arg(long)]
    print_defaults: bool,
    #[command(flatten)]
    flags: Flags,
}

/// Runs the daemon until a signal ends it. `args` begins with the word before the flags. No thread may exist yet.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let command_line = match CommandLine::try_parse_from(args) {
        Ok(command_line) => command_line,
        Err(refusal) => {
            let _ = refusal.print();
            return ExitCode::from(u8::try_from(refusal.exit_code()).unwrap_or(2));
        }
    };
    if command_line.print_defaults {
        return if io::stdout().write_all(config::DEFAULTS.as_bytes()).is_ok() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        };
    }
    match config::load(&command_line.flags).and_then(|settings| assemble::run(&settings)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "berth serve: {}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

/// What this host lacks for an engine with these settings.
///
/// # Errors
/// When the settings are wrong.
pub(crate) fn examine(flags: &Flags) -> Result<Vec<Finding>, Error> {
    config::load(flags).map(|settings| doctor::examine(&settings))
}

/// Removes everything of an engine with these settings from this host. No thread may exist yet.
///
/// # Errors
/// When the settings are wrong, an engine runs, or something cannot be removed.
pub(crate) fn reset(flags: &Flags) -> Result<(), Error> {
    reset::reset(&config::load(flags)?)
}
