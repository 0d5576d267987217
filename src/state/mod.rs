//! What survives the daemon, and whether the machine has been rebooted since.
//!
//! - **Owns:** the state database (`state.redb`), its schema version, the boot id of the run directory.
//! - **Never:** knows what the records mean; they belong to the rooms that define them.
//! - **Runs in:** the daemon, with one writer thread of its own.
//! - **Start reading at:** [`Db::submit`].

mod boot;
mod db;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;

/// Name of the database in the root directory.
pub const FILE: &str = "state.redb";

pub use boot::{Boot, claim_run_dir};
pub use db::{Batch, Db, Loaded, Table};
pub use error::Error;
