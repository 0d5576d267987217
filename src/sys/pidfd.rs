//! Signals to a process that a descriptor names, `pidfd_send_signal(2)`.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
};

/// Sends the signal with that number; real-time signals too, which the safe wrappers leave out.
///
/// # Errors
/// `ESRCH` when the process has ended and was reaped.
pub fn send_signal(pidfd: impl AsFd, signal: i32) -> io::Result<()> {
    let no_details = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: the descriptor is open during the call, and a null pointer stands for the details that kill(2) gives.
    let result =
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_fd().as_raw_fd(), signal, no_details, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
