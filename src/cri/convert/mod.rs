//! Between the CRI's messages and the engine's own nouns, a file a noun.
//!
//! `*_from_wire` reads what a caller asks for and says which field it cannot take; `*_to_wire` cannot fail. Only the
//! shape of a request is judged here. What depends on the host or on other objects is judged below.

mod check;
pub(crate) mod container;
pub(crate) mod event;
pub(crate) mod image;
pub(crate) mod metrics;
pub(crate) mod mount;
pub(crate) mod node;
pub(crate) mod pod;
pub(crate) mod resources;
pub(crate) mod security;
pub(crate) mod signal;
pub(crate) mod usage;

pub(crate) use check::{Invalid, absolute_path, arguments, each, id, required};
