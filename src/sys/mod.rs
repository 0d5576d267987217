//! Kernel interfaces that neither nix nor rustix wraps, names of devices, paths that cannot be led astray, and waits with a
//! deadline.
//!
//! - **Owns:** all `unsafe` system calls, a file for each interface.
//! - **Never:** decides, logs, or keeps state.
//! - **Runs in:** every process of the engine.
//! - **Start reading at:** whichever interface you need.

pub mod block_device;
pub mod bpf;
pub mod clone3;
pub mod descriptors;
pub mod exit;
pub mod fork;
pub mod heap;
pub mod idle;
#[cfg(test)]
pub(crate) mod isolate;
pub mod keyctl;
pub mod link;
pub mod mount;
pub mod mount_attr;
pub mod openat2;
pub mod pidfd;
pub mod poll;
pub mod program;
pub mod quota;
pub mod seccomp;
pub mod signal;
