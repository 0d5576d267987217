//! `fork(2)` of a process that has no other threads.

use std::io;

/// Which process [`fork`] has returned in.
#[derive(Debug, PartialEq, Eq)]
pub enum Fork {
    /// The calling process; this is the child's id.
    Parent(i32),
    /// The new one.
    Child,
}

/// Forks.
///
/// # Errors
/// `EBUSY` when the process has other threads: the child would have copies of the locks that they hold, without them.
pub fn fork() -> io::Result<Fork> {
    if std::fs::read_dir("/proc/self/task")?.nth(1).is_some() {
        return Err(io::Error::from_raw_os_error(libc::EBUSY));
    }
    // SAFETY: no other thread exists, and none can come into being between the check and the call, so the child finds
    // every lock and all memory in the state that this thread left them in.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        child => Ok(Fork::Parent(child)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_threads_is_not_forked() {
        // The test harness's own threads are enough.
        let result = std::thread::spawn(fork).join().expect("join");
        assert_eq!(result.expect_err("refused").raw_os_error(), Some(libc::EBUSY));
    }
}
