//! Kills for memory, told while they happen: `memory.events` of cgroup v2.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{CWD, Mode, OFlags, openat},
    io::pread,
};

use super::file;

/// Opens the file, if there is one. It has `POLLPRI` when something has changed since it was last read, and for good
/// when the cgroup is gone.
pub(super) fn open(path: &Path) -> Option<OwnedFd> {
    let events = openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    // What has never been read counts as changed.
    oom_kills(&events).ok()?;
    Some(events)
}

/// How many processes the kernel has killed for memory, by the file that [`super::Cgroup::memory_events`] has opened.
///
/// # Errors
/// When the cgroup is gone.
pub fn oom_kills(events: impl AsFd) -> io::Result<u64> {
    let mut text = [0; 512];
    let length = pread(events, &mut text, 0)?;
    Ok(file::keyed(&String::from_utf8_lossy(&text[..length]), "oom_kill").unwrap_or(0))
}
