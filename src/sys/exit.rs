//! Ending a process at once, `_exit(2)`.

/// Ends the process without running anything that was registered for its end: what that belongs to is the process'
/// that this one is a copy of.
pub fn now(code: i32) -> ! {
    // SAFETY: does not return and touches no memory.
    unsafe { libc::_exit(code) }
}
