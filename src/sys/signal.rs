//! Signal dispositions and masks of a new process, `signal(7)`.

use std::io;

use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};

/// Highest signal number.
const MAX: libc::c_int = 64;

/// The kernel's `struct sigaction`, for those of its fields that say "the default". The C library's function refuses
/// the two signals that it uses itself.
#[repr(C)]
struct Action {
    handler: usize,
    flags: libc::c_ulong,
    restorer: usize,
    mask: u64,
}

/// Puts all signals back to their defaults and unblocks them: ignored and blocked ones would stay so across
/// `execve(2)`, and Rust programs ignore `SIGPIPE`.
pub fn reset() -> io::Result<()> {
    let default = Action { handler: libc::SIG_DFL, flags: 0, restorer: 0, mask: 0 };
    for number in (1..=MAX).filter(|&number| number != libc::SIGKILL && number != libc::SIGSTOP) {
        // SAFETY: `default` has the kernel's layout and outlives the call, and runs no code; no old action is asked for.
        let result = unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                number,
                &raw const default,
                std::ptr::null_mut::<Action>(),
                size_of::<u64>(),
            )
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?)
}
