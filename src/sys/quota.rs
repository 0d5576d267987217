//! Quotas of projects, `quotactl_fd(2)`, and the projects of files, `ioctl_xfs_fsgetxattr(2)`.
//!
//! A project is a number that files carry. What is made in a directory with [`enter_project`] has that directory's, and
//! the file system counts and limits what all files of a project take together.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
};

/// `PRJQUOTA` of `linux/quota.h`.
const PROJECTS: libc::c_int = 2;
/// `Q_XGETQSTATV` of `linux/dqblk_xfs.h`, which all file systems with quotas answer.
const GET_STATE: libc::c_int = 0x5808;
/// `FS_QUOTA_PDQ_ENFD`: limits of projects are kept.
const LIMITS_KEPT: u16 = 1 << 5;
/// `FS_QSTATV_VERSION1`.
const STATE_VERSION: i8 = 1;
/// `FS_XFLAG_PROJINHERIT` of `linux/fs.h`.
const INHERITED: u32 = 0x200;
/// Bytes of a block in `struct if_dqblk`, whatever the file system's are.
const BLOCK: u64 = 1024;

/// `struct fs_quota_statv`, of which only the beginning matters.
#[repr(C)]
#[derive(Default)]
struct State {
    version: i8,
    _pad: u8,
    flags: u16,
    _in_memory: u32,
    _rest: [u64; 19],
}

/// `struct fsxattr`.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    flags: u32,
    _extent_size: u32,
    _extents: u32,
    project: u32,
    _copy_on_write_extent_size: u32,
    _pad: [u8; 8],
}

mod ioctl {
    use super::Attributes;

    nix::ioctl_read!(get_attributes, b'X', 31, Attributes);
    nix::ioctl_write_ptr!(set_attributes, b'X', 32, Attributes);
}

/// Bytes and inodes: what a project takes, or may take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    /// Bytes on disk.
    pub bytes: u64,
    /// Inodes.
    pub inodes: u64,
}

/// Whether the file system that a file or directory is on keeps limits of projects.
///
/// # Errors
/// What the kernel says, except that it has no such quotas.
pub fn keeps_limits(on: impl AsFd) -> io::Result<bool> {
    let mut state = State { version: STATE_VERSION, ..State::default() };
    match control(on, GET_STATE, 0, &mut state) {
        Ok(()) => Ok(state.flags & LIMITS_KEPT != 0),
        // A kernel or a file system without quotas; one that has none of projects.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL | libc::EOPNOTSUPP)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// What the files of a project take on the file system that `on` is on.
///
/// # Errors
/// What the kernel says; `ESRCH` where quotas of projects are off.
pub fn usage(on: impl AsFd, project: u32) -> io::Result<Amount> {
    let quota = get(on, project)?;
    Ok(Amount { bytes: quota.dqb_curspace, inodes: quota.dqb_curinodes })
}

/// What the files of a project may take; 0 where there is no limit.
///
/// # Errors
/// As [`usage`].
pub fn limit(on: impl AsFd, project: u32) -> io::Result<Amount> {
    let quota = get(on, project)?;
    Ok(Amount { bytes: quota.dqb_bhardlimit.saturating_mul(BLOCK), inodes: quota.dqb_ihardlimit })
}

/// Limits what the files of a project may take, in whole KiB; 0 takes a limit away.
///
/// # Errors
/// As [`usage`], and `EPERM` without `CAP_SYS_ADMIN`.
pub fn set_limit(on: impl AsFd, project: u32, limit: Amount) -> io::Result<()> {
    let mut quota = empty();
    quota.dqb_bhardlimit = limit.bytes.div_ceil(BLOCK);
    quota.dqb_ihardlimit = limit.inodes;
    quota.dqb_valid = libc::QIF_LIMITS;
    control(on, libc::Q_SETQUOTA, project, &mut quota)
}

/// Puts an empty directory into a project, and all that will be made in it.
///
/// # Errors
/// What the kernel says: `ENOTTY` or `EOPNOTSUPP` on file systems without projects.
pub fn enter_project(directory: impl AsFd, project: u32) -> io::Result<()> {
    let descriptor = directory.as_fd().as_raw_fd();
    let mut attributes = Attributes::default();
    // SAFETY: `attributes` is a `struct fsxattr`, which the kernel fills in, and outlives the call.
    unsafe { ioctl::get_attributes(descriptor, &raw mut attributes) }?;
    attributes.flags |= INHERITED;
    attributes.project = project;
    // SAFETY: `attributes` outlives the call, which only reads it.
    unsafe { ioctl::set_attributes(descriptor, &raw const attributes) }?;
    Ok(())
}

fn get(on: impl AsFd, project: u32) -> io::Result<libc::dqblk> {
    let mut quota = empty();
    match control(on, libc::Q_GETQUOTA, project, &mut quota) {
        Ok(()) => Ok(quota),
        // XFS has no entry for a project without files and limits.
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(empty()),
        Err(error) => Err(error),
    }
}

const fn empty() -> libc::dqblk {
    libc::dqblk {
        dqb_bhardlimit: 0,
        dqb_bsoftlimit: 0,
        dqb_curspace: 0,
        dqb_ihardlimit: 0,
        dqb_isoftlimit: 0,
        dqb_curinodes: 0,
        dqb_btime: 0,
        dqb_itime: 0,
        dqb_valid: 0,
    }
}

/// One command about projects. `argument` must be of the type that the command has in `quotactl(2)`.
fn control<T>(on: impl AsFd, command: libc::c_int, project: u32, argument: &mut T) -> io::Result<()> {
    // SAFETY: the callers in this file pair each command with the structure that it reads or fills in, which outlives
    // the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_quotactl_fd,
            on.as_fd().as_raw_fd(),
            libc::QCMD(command, PROJECTS),
            project,
            std::ptr::from_mut(argument),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn structures_are_laid_out_as_the_kernels() {
        assert_eq!((size_of::<State>(), std::mem::offset_of!(State, flags)), (160, 2));
        assert_eq!((size_of::<Attributes>(), std::mem::offset_of!(Attributes, project)), (28, 12));
        assert_eq!((size_of::<libc::dqblk>(), std::mem::offset_of!(libc::dqblk, dqb_valid)), (72, 64));
    }

    #[test]
    fn a_file_system_without_projects_says_so() {
        let proc = File::open("/proc/self").expect("opens");
        assert!(!keeps_limits(&proc).expect("an answer"));
        assert!(usage(&proc, 1).is_err() && set_limit(&proc, 1, Amount::default()).is_err());
        assert!(enter_project(&proc, 1).is_err());
    }
}
