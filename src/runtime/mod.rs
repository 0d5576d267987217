//! Containers as kernel objects.

pub mod cgroup;
pub mod lsm;
pub mod seccomp;
