//! Which of the engine's processes this is.

use std::{env, process::ExitCode};

use berth::{cli, daemon, monitor::process::spawner};

/// Dispatches by the first argument, before any thread exists: the spawner forks and never has one.
fn main() -> ExitCode {
    let mut args = env::args_os();
    match args.nth(1).as_deref().and_then(|word| word.to_str()) {
        Some("spawner") => spawner::main(),
        Some("serve") => daemon::main(env::args_os().skip(1)),
        _ => cli::run(env::args_os()),
    }
}
