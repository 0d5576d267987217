//! The one wrapper around the async runtime.
//!
//! - **Owns:** blocking work and its lanes, operations that callers can join and leave, locks by key, what is tried
//!   until it succeeds.
//! - **Never:** knows what is done in them.
//! - **Runs in:** the daemon.
//! - **Start reading at:** [`Joint::run`].

mod blocking;
mod joint;
mod keylock;
mod lane;
mod retry;

pub use blocking::{blocking, blocking_each};
pub use joint::Joint;
pub use keylock::KeyLock;
pub use lane::{KeyedLanes, Lane, Slot};
pub use retry::retry;
