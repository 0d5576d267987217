//! A process that does nothing, `fork(2)`.

use std::io;

/// Forks a process that sleeps until it is killed; its parent has to reap it. It is killed as well when the thread that
/// called this ends.
///
/// Unlike [`super::fork::fork`] it may be called in a process with threads: the child returns to no code that could want
/// a lock.
pub fn spawn() -> io::Result<i32> {
    // SAFETY: the child makes the three calls below only, which are async-signal-safe: they take no lock that another
    // thread can have held at the moment of the fork.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => sleep_until_killed(),
        child => Ok(child),
    }
}

fn sleep_until_killed() -> ! {
    // Whoever waits for the end of a pipe of this process does not wait for the child.
    // SAFETY: touches no memory, and nothing in this process uses a descriptor.
    unsafe { libc::syscall(libc::SYS_close_range, 0, libc::c_uint::MAX, 0) };
    // SAFETY: takes no pointers.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    loop {
        // SAFETY: takes nothing.
        unsafe { libc::pause() };
    }
}
