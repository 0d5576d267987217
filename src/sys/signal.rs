//! Signal dispositions and masks of a new process, `signal(7)`.

use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, signal, sigprocmask};

/// Puts all signals back to their defaults and unblocks them: ignored and blocked ones would stay so across
/// `execve(2)`, and Rust programs ignore `SIGPIPE`.
pub fn reset() -> nix::Result<()> {
    for number in Signal::iterator().filter(|&number| number != Signal::SIGKILL && number != Signal::SIGSTOP) {
        // SAFETY: the default disposition runs no code of ours.
        unsafe { signal(number, SigHandler::SigDfl) }?;
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
}
