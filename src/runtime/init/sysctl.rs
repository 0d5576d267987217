//! Kernel parameters of a pod's namespaces.

use std::collections::BTreeMap;

use rustix::fs::{CWD, Mode, OFlags, PROC_SUPER_MAGIC, fstatfs, openat};

use crate::{
    runtime::error::{At as _, LaunchError, Step},
    sys::openat2::Root,
};

/// Writes the parameters. The host's `/proc/sys` shows each process the parameters of its own namespaces.
pub(super) fn apply(sysctls: &BTreeMap<String, String>) -> Result<(), LaunchError> {
    if sysctls.is_empty() {
        return Ok(());
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = openat(CWD, c"/proc/sys", flags, Mode::empty()).at(Step::Sysctl, "/proc/sys")?;
    if fstatfs(&directory).at(Step::Sysctl, "/proc/sys")?.f_type != PROC_SUPER_MAGIC {
        return Err(LaunchError::new(Step::Sysctl, "/proc/sys is not procfs"));
    }
    let root = Root::new(directory);
    for (key, value) in sysctls {
        // A dot within a part, as in an interface's name, is written as a slash.
        let path: String = key
            .chars()
            .map(|c| {
                if c == '.' {
                    '/'
                } else if c == '/' {
                    '.'
                } else {
                    c
                }
            })
            .collect();
        let file = root.open_strict(&path, OFlags::WRONLY).at(Step::Sysctl, key)?;
        rustix::io::write(&file, value.as_bytes()).at(Step::Sysctl, format_args!("{key}={value}"))?;
    }
    Ok(())
}
