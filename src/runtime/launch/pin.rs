//! What a pod keeps mounted on the host: its namespaces and its shared memory.

use std::{
    os::fd::{AsRawFd as _, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{CWD, Mode, OFlags, openat, unlink},
    io::Errno,
    mount::{UnmountFlags, mount_bind},
};

use crate::runtime::error::{At as _, LaunchError, Step};

/// The namespaces that are pinned, by the names of their files in `ns/` and in `/proc/<pid>/ns/`.
pub(super) const NAMESPACES: [&str; 4] = ["net", "ipc", "uts", "user"];

/// Keeps a namespace without a process in it.
pub(super) fn pin(dir: &Path, name: &str, namespace: &OwnedFd) -> Result<(), LaunchError> {
    let path = dir.join("ns").join(name);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    openat(CWD, &path, flags, Mode::from_raw_mode(0o444)).at(Step::Pin, path.display())?;
    mount_bind(format!("/proc/self/fd/{}", namespace.as_raw_fd()), &path).at(Step::Pin, path.display())
}

/// Removes what [`pod`](super::pod) left below the pod's directory: the pins of its namespaces and its `shm`. Fine when
/// they are gone already.
///
/// # Errors
/// When something is still mounted afterwards.
pub fn unpin(dir: &Path) -> Result<(), LaunchError> {
    for name in NAMESPACES {
        let pin = dir.join("ns").join(name);
        unmount(&pin)?;
        match unlink(&pin) {
            Ok(()) | Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(errno) => return Err(errno).at(Step::Pin, pin.display()),
        }
    }
    unmount(&dir.join("shm"))
}

/// Unmounts `path`; fine when nothing is mounted there.
fn unmount(path: &Path) -> Result<(), LaunchError> {
    match rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        Ok(()) | Err(Errno::INVAL | Errno::NOENT | Errno::NOTDIR) => Ok(()),
        Err(errno) => Err(errno).at(Step::Pin, path.display()),
    }
}
