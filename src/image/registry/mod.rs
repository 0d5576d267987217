//! The client of OCI distribution registries.
//!
//! - **Owns:** requests to registries, their authentication, mirrors, retries, and bounded, resuming transfers.
//! - **Never:** stores anything, or understands what is in a blob.
//! - **Runs in:** the daemon, on its async threads.
//! - **Start reading at:** [`Client`], then `repository.rs`.
//!
//! An operation asks the hosts of `mirror` in the order of `candidates`. `repository` authorizes each request with
//! `auth` and sends it by `http`, over the connections of `transport`; `manifest`, `transfer` and `push` make
//! sense of answers.

mod auth;
mod candidates;
mod client;
mod descriptor;
mod distrust;
mod endpoint;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod http;
mod login;
mod manifest;
mod mirror;
mod names;
mod push;
mod repository;
mod tls;
mod transfer;
mod transport;

pub use auth::{Auth, LoginFile, LoginFileError};
pub use client::{Client, Config};
pub use descriptor::{Descriptor, Resolved};
pub use distrust::{Distrust, Givers};
pub use error::{Error, Failure, Retry, Side};
pub(super) use manifest::own_media_type;
pub use push::{BlobPush, Content, Pushed};
pub use transfer::BlobStream;

#[cfg(test)]
mod tests;
