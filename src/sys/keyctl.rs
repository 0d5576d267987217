//! Session keyrings, `keyctl(2)`.

use std::{ffi::CStr, io};

/// Makes a new session keyring of that name for the calling process.
pub fn join_session_keyring(name: &CStr) -> io::Result<()> {
    // SAFETY: `name` outlives the call, which copies it.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
