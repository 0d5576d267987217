//! Kernel interfaces that neither nix nor rustix wraps.

pub mod seccomp;
