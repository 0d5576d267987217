//! Making a process in new namespaces and in a cgroup at once, `clone3(2)`.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

use nix::sched::{CloneFlags, unshare};

/// libc's constant has a type that it does not fit in.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// How a process is made.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clone3<'a> {
    /// `CLONE_NEW*`, and `CLONE_PARENT`.
    pub flags: i32,
    /// A cgroup v2 directory to be born in.
    pub cgroup: Option<BorrowedFd<'a>>,
}

/// Which process [`Clone3::call`] has returned in.
#[derive(Debug)]
pub enum Cloned {
    /// The new one.
    Child,
    /// The calling one.
    Parent {
        /// The new process' id, as the caller sees it.
        pid: i32,
        /// A descriptor of it, close-on-exec.
        pidfd: OwnedFd,
    },
}

/// `struct clone_args` up to the cgroup.
#[repr(C)]
#[derive(Default)]
struct Args {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

impl Clone3<'_> {
    /// Makes the process; memory is copied as by `fork(2)`.
    ///
    /// # Errors
    /// `EBUSY` when the caller has other threads: the child would have copies of the locks that they hold, without
    /// them. Otherwise the kernel's.
    pub fn call(&self) -> io::Result<Cloned> {
        // Changes nothing, and is refused to a process with threads. It needs no /proc, which may be a container's.
        unshare(CloneFlags::CLONE_THREAD).map_err(|_| io::Error::from_raw_os_error(libc::EBUSY))?;
        let mut pidfd: RawFd = -1;
        let parent = self.flags & libc::CLONE_PARENT != 0;
        let mut args = Args {
            flags: u64::from(self.flags.cast_unsigned()) | u64::from(libc::CLONE_PIDFD.cast_unsigned()),
            pidfd: (&raw mut pidfd).expose_provenance() as u64,
            // With CLONE_PARENT the child has the caller's own exit signal, and the kernel refuses to be told.
            exit_signal: if parent { 0 } else { libc::SIGCHLD as u64 },
            ..Args::default()
        };
        if let Some(cgroup) = self.cgroup {
            args.flags |= CLONE_INTO_CGROUP;
            args.cgroup = cgroup.as_raw_fd() as u64;
        }
        // SAFETY: without CLONE_VM and with no stack given this is a fork: the child goes on with a copy of this only
        // thread's stack. No other thread exists (checked above, and none can appear before the call), so the copy
        // has every lock and all memory in a consistent state. `args` and `pidfd` outlive the call.
        let result = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<Args>()) };
        match result {
            -1 => Err(io::Error::last_os_error()),
            0 => Ok(Cloned::Child),
            pid => Ok(Cloned::Parent {
                pid: i32::try_from(pid).map_err(io::Error::other)?,
                // SAFETY: the kernel has stored a new descriptor there, and nobody else knows of it.
                pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) },
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_threads_is_not_cloned() {
        let result = std::thread::spawn(|| Clone3::default().call()).join().expect("join");
        assert_eq!(result.expect_err("refused").raw_os_error(), Some(libc::EBUSY));
    }
}
