//! `fork(2)` of a process that has no other threads, for children that live on as programs of their own.
//!
//! Unlike a bare `clone3(2)` this is the C library's: it knows in the child that it is in another process.

use std::{io, os::unix::fs::MetadataExt};

/// Which process [`fork`] has returned in.
#[derive(Debug, PartialEq, Eq)]
pub enum Fork {
    /// The calling one; this is the new one's id.
    Parent(i32),
    /// The new one.
    Child,
}

/// Forks.
///
/// # Errors
/// `EBUSY` when the process has other threads: the child would have copies of the locks that they hold, without them.
pub fn fork() -> io::Result<Fork> {
    // A directory has two links of its own and one from each directory in it: here, one a thread.
    if std::fs::metadata("/proc/self/task")?.nlink() != 3 {
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
        // The test harness has threads of its own, but there must be one for sure.
        let result = std::thread::spawn(fork).join().expect("join");
        assert_eq!(result.expect_err("refused").raw_os_error(), Some(libc::EBUSY));
    }
}
