//! The Container Device Interface: devices by name, and what a container needs for them by files of their vendors.
//!
//! Specification files are read when a container is created that names a device, so that a change of them needs no
//! restart. What comes out is plain data, with all that the host has to be asked for already in it; `plan/` makes it
//! part of a plan.

mod edits;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
mod fuzz;
mod name;
mod registry;
mod spec;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

pub use edits::{Device, Edits, Mount};
pub use error::Error;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use fuzz::cdi as fuzz_target;
pub use name::requested;
use registry::Registry;

/// What devices add to a container that names them. Reads files.
///
/// `dirs` are the directories of specifications; what a later one says of a device wins over an earlier one.
///
/// # Errors
/// Names the device that there is not, that two files describe, or that needs what this engine has not.
pub fn edits(dirs: &[PathBuf], names: &[String]) -> Result<Edits, Error> {
    Registry::read(dirs).edits(names)
}
