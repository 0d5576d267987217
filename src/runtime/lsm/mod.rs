//! Linux security modules: AppArmor profiles and SELinux labels.
//!
//! - **Owns:** which label a container's process and mounts get, and how it is given.
//! - **Never:** decides what a container may ask for; both modules are inert on a host where they are off.
//! - **Runs in:** the daemon (planning, loading the default profile) and the container's process ([`ExecLabel::apply`]).
//! - **Start reading at:** [`apparmor::plan`] and [`selinux::plan`].

pub mod apparmor;
mod error;
pub mod selinux;

use std::{
    fs::OpenOptions,
    io::{self, Write as _},
    path::Path,
};

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
    /// Sets the label for the calling thread; `proc` is where a `proc` that shows it is mounted.
    pub fn apply(&self, proc: &Path) -> io::Result<()> {
        let attributes = proc.join("thread-self/attr");
        match self {
            Self::Selinux(context) => write(&attributes.join("exec"), context),
            Self::AppArmor(profile) => {
                let command = format!("exec {profile}");
                match write(&attributes.join("apparmor/exec"), &command) {
                    // Before kernel 5.8 the modules had to share one file.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => write(&attributes.join("exec"), &command),
                    result => result,
                }
            }
        }
    }
}

/// The module takes a label in one `write(2)` only.
fn write(path: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_go_to_their_modules_file() {
        let proc = tempfile::tempdir().expect("temporary directory");
        let attributes = proc.path().join("thread-self/attr");
        std::fs::create_dir_all(&attributes).expect("directory");
        let exec = attributes.join("exec");
        std::fs::write(&exec, "").expect("file");
        let content = |path: &Path| std::fs::read_to_string(path).expect("file");

        ExecLabel::Selinux("u:r:t:s0".into()).apply(proc.path()).expect("selinux");
        assert_eq!(content(&exec), "u:r:t:s0");

        std::fs::write(&exec, "").expect("file");
        ExecLabel::AppArmor("mine".into()).apply(proc.path()).expect("an old kernel's apparmor");
        assert_eq!(content(&exec), "exec mine");

        std::fs::create_dir(attributes.join("apparmor")).expect("directory");
        let own = attributes.join("apparmor/exec");
        std::fs::write(&own, "").expect("file");
        ExecLabel::AppArmor("mine".into()).apply(proc.path()).expect("apparmor");
        assert_eq!(content(&own), "exec mine");
    }
}
