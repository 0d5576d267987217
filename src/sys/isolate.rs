//! A process of its own for a test that needs to be without threads or to leave its namespaces.

use std::{
    cell::RefCell,
    fs::File,
    io::{Read as _, Write as _},
    os::fd::FromRawFd as _,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Once,
};

use nix::sys::wait::{WaitStatus, waitpid};

thread_local! {
    /// Where a panic of this thread is told, in a forked process.
    static TOLD: RefCell<Option<File>> = const { RefCell::new(None) };
}

/// Runs `body` in a forked process and fails with its panic.
///
/// # Panics
/// When the body panicked, was killed or ended otherwise.
pub(crate) fn isolated(body: impl FnOnce()) {
    install_hook();
    let mut ends = [0; 2];
    // SAFETY: the array takes two descriptors.
    assert_eq!(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) }, 0);
    // SAFETY: the descriptor is new and nobody else's.
    let mut reader = unsafe { File::from_raw_fd(ends[0]) };
    // SAFETY: as above.
    let writer = unsafe { File::from_raw_fd(ends[1]) };
    // SAFETY: the C library makes its own locks usable in the child; of the harness's and the standard library's, the
    // body takes none that another thread may hold: nothing is printed.
    match unsafe { libc::fork() } {
        0 => {
            drop(reader);
            TOLD.set(Some(writer));
            let result = catch_unwind(AssertUnwindSafe(body));
            crate::sys::exit::now(i32::from(result.is_err()));
        }
        child => {
            drop(writer);
            let status = waitpid(nix::unistd::Pid::from_raw(child), None).expect("wait");
            // Not until its end: a process that the body has left behind may hold the other side.
            let mut message = [0; 16384];
            rustix::io::ioctl_fionbio(&reader, true).expect("non-blocking");
            let length = reader.read(&mut message).unwrap_or(0);
            let message = String::from_utf8_lossy(&message[..length]);
            assert!(matches!(status, WaitStatus::Exited(_, 0)), "in the forked process: {message} ({status:?})");
        }
    }
}

/// Lets panics of forked processes be told to their parents. Once, and before the fork: another thread may be
/// panicking, and then holds the lock that setting a hook takes.
fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            TOLD.with_borrow_mut(|told| match told {
                Some(told) => drop(told.write_all(panic.to_string().as_bytes())),
                None => usual(panic),
            });
        }));
    });
}
