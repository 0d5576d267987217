//! Kernel interfaces that neither nix nor rustix wraps.

pub mod bpf;
pub mod descriptors;
pub mod fork;
pub mod heap;
pub mod mount_attr;
pub mod pidfd;
pub mod seccomp;
