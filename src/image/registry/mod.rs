//! The client of OCI distribution registries.
//!
//! - **Owns:** requests to registries, their authentication, mirrors, retries, and bounded, resuming transfers.
//! - **Never:** stores anything, or understands what is in a blob.
//! - **Runs in:** the daemon, on its async threads.
//! - **Start reading at:** [`Client`].

mod auth;
mod client;
mod descriptor;
mod error;
mod transfer;

pub use auth::Auth;
pub use client::{Client, Config};
pub use descriptor::{Descriptor, Resolved};
pub use error::{Error, Side};
pub use transfer::BlobStream;
