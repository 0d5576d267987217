//! The parent of a pod's processes, and the daemon's way to talk to it.
//!
//! - **Owns:** the spawner, one monitor process per pod, their wire; stdio, terminals, logs, attached clients, exits.
//! - **Never:** decides what runs, knows images, networks or the state database; the process half knows no tokio.
//! - **Runs in:** [`client`] in the daemon; [`process`] in the spawner and the monitors.
//! - **Start reading at:** `wire` (what is said), then `process::Monitor` (one event loop).

pub mod client;
mod error;
pub mod process;
mod record;
mod wire;
