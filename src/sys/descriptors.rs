//! Many descriptors at once, `close_range(2)`.

use std::{io, os::fd::RawFd};

/// Marks all descriptors from `first` on close-on-exec, also those that were inherited without it.
pub fn mark_close_on_exec(first: RawFd) -> io::Result<()> {
    let first = libc::c_uint::try_from(first).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    // SAFETY: with this flag nothing is closed, so no owner of a descriptor loses it.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
