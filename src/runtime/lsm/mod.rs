//! Linux security modules: AppArmor profiles and SELinux labels.
//!
//! - **Owns:** which label a container's process and mounts get, and how it is given.
//! - **Never:** decides what a container may ask for; both modules are inert on a host where they are off.
//! - **Runs in:** the daemon (planning, loading the default profile) and the container's process ([`ExecLabel::apply`]).
//! - **Start reading at:** [`apparmor::plan`] and [`selinux::plan`].

pub mod apparmor;
mod error;
pub mod selinux;

use std::{io, path::Path};

use serde::{Deserialize, Serialize};

pub use error::Error;

/// The label that a process takes on at its next `execve(2)`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExecLabel {
    /// An AppArmor profile's name.
    AppArmor(String),
    /// A SELinux context.
    Selinux(String),
}

impl ExecLabel {
    /// Sets the label for the calling thread; `proc` is where a `proc` of its own PID namespace is mounted.
    pub fn apply(&self, proc: &Path) -> io::Result<()> {
        let _ = proc;
        todo!()
    }
}
