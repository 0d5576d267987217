//! Children: who of them ended, and how.

use std::{io, os::fd::OwnedFd};

use nix::sys::{
    signal::SigSet,
    signalfd::{SfdFlags, SignalFd},
};
use rustix::process::{WaitOptions, WaitStatus};

/// Blocks all signals that can be blocked. The process is not to be ended by any, and ends of children are told by
/// [`ends_of_children`]. Launched processes undo it for themselves.
pub(super) fn block_signals() -> io::Result<()> {
    Ok(SigSet::all().thread_set_mask()?)
}

/// A descriptor that is readable when a child, or an orphan that became one, has ended.
pub(super) fn ends_of_children() -> io::Result<OwnedFd> {
    let mut signals = SigSet::empty();
    signals.add(nix::sys::signal::SIGCHLD);
    let descriptor = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    std::os::fd::AsFd::as_fd(&descriptor).try_clone_to_owned()
}

/// Takes the message off [`ends_of_children`] (several ends make one) before the children are reaped.
pub(super) fn acknowledge(signals: impl std::os::fd::AsFd) {
    let mut message = [0; size_of::<libc::signalfd_siginfo>()];
    while rustix::io::read(&signals, &mut message).is_ok() {}
}

/// Reaps one child that has ended: its process id, and its exit code or 128 + the signal that killed it.
pub(super) fn next() -> Option<(i32, i32)> {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => return Some((pid.as_raw_nonzero().get(), code(status))),
            Err(rustix::io::Errno::INTR) => {}
            Ok(None) | Err(_) => return None,
        }
    }
}

fn code(status: WaitStatus) -> i32 {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => crate::types::ExitStatus::UNKNOWN_CODE,
    }
}
