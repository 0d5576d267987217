//! Closing all descriptors, `close_range(2)`.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

/// Closes all descriptors but 0, 1, 2 and `kept`, for a process that is about to execute another program or to end:
/// owners of the closed ones must not use them any more, and never reach their own end.
pub fn close_all_but(kept: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut kept: Vec<u32> = kept.iter().map(|fd| fd.as_raw_fd().cast_unsigned()).filter(|&fd| fd > 2).collect();
    kept.sort_unstable();
    let mut first = 3;
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
