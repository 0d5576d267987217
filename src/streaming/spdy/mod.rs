//! SPDY/3.1, as much of it as Kubernetes' clients speak: streams opened by the client, data both ways, no flow-control
//! windows (both sides leave that to TCP).

mod connection;
mod frame;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzz;
mod header;

pub(super) use connection::{Opened, serve};
