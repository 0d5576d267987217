//! The spawner process.

use std::process::ExitCode;

/// Runs `berth spawner`; standard input is the daemon's socket.
pub fn main() -> ExitCode {
    todo!()
}
