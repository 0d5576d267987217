//! Kernel interfaces that neither nix nor rustix wraps, and paths that cannot be led astray.
//!
//! - **Owns:** all `unsafe` system calls, a file for each interface.
//! - **Never:** decides, logs, or keeps state.
//! - **Runs in:** every process of the engine.
//! - **Start reading at:** whichever interface you need.

pub mod clone3;
pub mod close_range;
pub mod exit;
#[cfg(test)]
pub(crate) mod isolate;
pub mod keyctl;
pub mod link;
pub mod mount;
pub mod mount_setattr;
pub mod openat2;
pub mod bpf;
pub mod descriptors;
pub mod fork;
pub mod heap;
pub mod mount_attr;
pub mod seccomp;
pub mod signal;
