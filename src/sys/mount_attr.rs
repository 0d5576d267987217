//! Changing a mount's attributes, `mount_setattr(2)`.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

/// Makes one mount, given by a descriptor of it, read-only.
pub fn set_read_only(mount: BorrowedFd<'_>) -> io::Result<()> {
    let attributes = libc::mount_attr { attr_set: libc::MOUNT_ATTR_RDONLY, attr_clr: 0, propagation: 0, userns_fd: 0 };
    // SAFETY: the path is a constant C string, and the kernel reads as many bytes of `attributes` as it is told.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of_val(&attributes),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
