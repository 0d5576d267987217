//! Changing attributes of mounts, `mount_setattr(2)`.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
};

/// A change of a mount's attributes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Attributes<'a> {
    /// `MOUNT_ATTR_*` to add.
    pub set: u64,
    /// `MOUNT_ATTR_*` to take away.
    pub clear: u64,
    /// `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE`, or 0 to leave it.
    pub propagation: u64,
    /// A user namespace by which the mount's ids are mapped (`MOUNT_ATTR_IDMAP`).
    pub idmap: Option<BorrowedFd<'a>>,
}

impl Attributes<'_> {
    /// Changes the mount `mount` and, with `recursive`, all mounts below it: all of them or, on an error, none.
    pub fn apply(&self, mount: impl AsFd, recursive: bool) -> io::Result<()> {
        let mut attr =
            libc::mount_attr { attr_set: self.set, attr_clr: self.clear, propagation: self.propagation, userns_fd: 0 };
        if let Some(namespace) = self.idmap {
            attr.attr_set |= libc::MOUNT_ATTR_IDMAP;
            attr.userns_fd = namespace.as_raw_fd() as u64;
        }
        let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
        // SAFETY: the path is a constant and `attr` outlives the call, which only reads it.
        let result = unsafe {
            libc::syscall(
                libc::SYS_mount_setattr,
                mount.as_fd().as_raw_fd(),
                c"".as_ptr(),
                flags,
                &raw const attr,
                size_of::<libc::mount_attr>(),
            )
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

/// Makes one mount, given by a descriptor of it, read-only.
pub fn set_read_only(mount: BorrowedFd<'_>) -> io::Result<()> {
    Attributes { set: libc::MOUNT_ATTR_RDONLY, ..Attributes::default() }.apply(mount, false)
}
