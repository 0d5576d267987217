//! Many descriptors at once, `close_range(2)`.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, RawFd},
};

/// Marks all descriptors from `first` on close-on-exec, also those that were inherited without it.
pub fn mark_close_on_exec(first: RawFd) -> io::Result<()> {
    let first = libc::c_uint::try_from(first).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    // SAFETY: with this flag nothing is closed, so no owner of a descriptor loses it.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Closes all descriptors from `first` on but `kept`, for a process that is about to execute another program or to
/// end: owners of the closed ones must not use them any more, and never reach their own end.
pub fn close_all_but(first: u32, kept: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut kept: Vec<u32> = kept.iter().map(|fd| fd.as_raw_fd().cast_unsigned()).filter(|&fd| fd >= first).collect();
    kept.sort_unstable();
    let mut first = first;
    for fd in kept {
        if first < fd {
            close(first, fd - 1)?;
        }
        first = fd + 1;
    }
    close(first, u32::MAX)
}

fn close(first: u32, last: u32) -> io::Result<()> {
    // SAFETY: no memory is touched. That the closed descriptors' owners do not use them any more is what the caller
    // promises; even if one did, it would get an error, because this process opens nothing in their place.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
