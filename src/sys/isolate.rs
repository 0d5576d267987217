//! A process of its own for a test that needs to be without threads or to leave its namespaces.

use std::{io::Read as _, os::fd::FromRawFd as _};

use nix::sys::wait::{WaitStatus, waitpid};

/// Runs `body` in a forked process and fails with its panic.
///
/// # Panics
/// When the body panicked, was killed or ended otherwise.
pub(crate) fn isolated(body: impl FnOnce()) {
    let mut ends = [0; 2];
    // SAFETY: the array takes two descriptors.
    assert_eq!(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) }, 0);
    // SAFETY: the descriptors are new and nobody else's.
    let (reader, writer) = unsafe { (std::fs::File::from_raw_fd(ends[0]), std::fs::File::from_raw_fd(ends[1])) };
    // SAFETY: the C library makes its own locks usable in the child; of the harness's and the standard library's, the
    // body takes none that another thread can hold: panics are kept silent, and nothing is printed.
    match unsafe { libc::fork() } {
        0 => {
            drop(reader);
            std::panic::set_hook(Box::new({
                let writer = writer.try_clone().expect("clone");
                move |panic| {
                    let _ = std::io::Write::write_all(&mut &writer, panic.to_string().as_bytes());
                }
            }));
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
            crate::sys::exit::now(i32::from(result.is_err()));
        }
        child => {
            drop(writer);
            let mut message = String::new();
            let _ = { reader }.read_to_string(&mut message);
            let status = waitpid(nix::unistd::Pid::from_raw(child), None).expect("wait");
            assert!(matches!(status, WaitStatus::Exited(_, 0)), "in the forked process: {message} ({status:?})");
        }
    }
}
