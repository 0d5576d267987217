//! The daemon's settings: a file, flags over it, and from both the rooms' own configurations.

mod load;
mod resolve;
mod schema;

pub(crate) use load::{DEFAULTS, Flags, load};
pub(super) use schema::{Containers, LogFormat, Settings};

/// What `--help` ends with.
pub(super) const HELP: &str =
    "Settings come from the file, and flags win over it; --print-defaults shows and explains them all.";
