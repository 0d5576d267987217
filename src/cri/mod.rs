//! The CRI v1 door: kubelet's and crictl's way in.
//!
//! - **Owns:** the CRI's two services and the engine's own, wire ↔ domain, error kind → gRPC code.
//! - **Never:** touches the kernel or a file, or decides anything that is not in the request.
//! - **Runs in:** the daemon.
//! - **Start reading at:** `server/runtime.rs`: an RPC's name leads to the engine's verb.

mod convert;
mod layer;
mod metrics;
mod server;
mod status;

pub use layer::{Observe, Observed};
pub use metrics::Metrics;
pub use server::{Config, Door};
