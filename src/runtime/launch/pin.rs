//! What a pod has on the host: its namespaces by name, and its shared memory.

use std::{
    os::fd::{AsRawFd as _, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{CWD, Mode, OFlags, openat, symlink, unlink},
    io::Errno,
    mount::{UnmountFlags, mount_bind},
};

use crate::runtime::error::{At as _, LaunchError, Step};

/// A pod's namespaces, by the names of their files in `ns/` and in `/proc/<pid>/ns/`.
pub(super) const NAMESPACES: [&str; 4] = ["net", "ipc", "uts", "user"];

/// Gives a namespace its name in the pod's directory. The network's is there until it is removed, as it has to be
/// taken down when the pod's monitor is dead. The others need none then: theirs leads to the descriptor of the calling
/// process. Every mount on the host is copied for every container.
pub(super) fn name(dir: &Path, name: &str, namespace: &OwnedFd) -> Result<(), LaunchError> {
    let path = dir.join("ns").join(name);
    if name == "net" {
        return pin(&path, namespace);
    }
    let descriptor = format!("/proc/{}/fd/{}", std::process::id(), namespace.as_raw_fd());
    symlink(descriptor, &path).at(Step::Pin, path.display())
}

/// Keeps a namespace without a process in it.
fn pin(path: &Path, namespace: &OwnedFd) -> Result<(), LaunchError> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    openat(CWD, path, flags, Mode::from_raw_mode(0o444)).at(Step::Pin, path.display())?;
    mount_bind(format!("/proc/self/fd/{}", namespace.as_raw_fd()), path).at(Step::Pin, path.display())
}

/// Removes what [`pod`](super::pod) left below the pod's directory: the names of its namespaces and its `shm`. Fine when
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
