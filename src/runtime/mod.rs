//! Containers as kernel objects: from a plan to a process, and what confines it.
//!
//! - **Owns:** plans, validation, launching of pods, containers and execs, hooks, cgroups, seccomp, security modules.
//! - **Never:** keeps state, logs, watches processes, or knows images and networks.
//! - **Runs in:** the daemon ([`plan`]), the monitors ([`launch`]) and the new processes themselves (`init`).
//! - **Start reading at:** [`plan::container()`], then [`launch::container`].

pub mod cdi;
pub mod cgroup;
pub mod checkpoint;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
pub mod hooks;
mod init;
pub mod launch;
pub mod lsm;
mod mountinfo;
pub mod plan;
pub mod processes;
pub mod seccomp;
mod validate;

pub use error::{LaunchError, PlanError, Step};
