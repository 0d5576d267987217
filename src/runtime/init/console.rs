//! The terminal.

use std::os::fd::OwnedFd;

use rustix::{
    fs::{OFlags, fstat, fstatfs, makedev},
    pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt},
};

use crate::{
    runtime::error::{At as _, LaunchError, Step},
    sys::{
        mount,
        openat2::{Missing, Root},
    },
};

/// `statfs` type of devpts.
const DEVPTS_MAGIC: rustix::fs::FsWord = 0x1cd1;

/// Both sides of a terminal.
#[derive(Debug)]
pub(super) struct Terminal {
    /// For the launcher.
    pub(super) master: OwnedFd,
    /// For the program.
    pub(super) slave: OwnedFd,
}

/// Makes a terminal in the container's devpts.
pub(super) fn open(root: &Root) -> Result<Terminal, LaunchError> {
    const PTMX: &str = "/dev/pts/ptmx";
    // A look at what is there before it is opened for reading and writing: it is the container's.
    let place = root.open(PTMX, OFlags::PATH).at(Step::Console, PTMX)?;
    let is_devpts = fstatfs(&place).at(Step::Console, PTMX)?.f_type == DEVPTS_MAGIC;
    if !is_devpts || fstat(&place).at(Step::Console, PTMX)?.st_rdev != makedev(5, 2) {
        return Err(LaunchError::new(Step::Console, format!("{PTMX} is not the devpts multiplexer")));
    }
    let master = root.open(PTMX, OFlags::RDWR | OFlags::NOCTTY).at(Step::Console, PTMX)?;
    if fstatfs(&master).at(Step::Console, PTMX)?.f_type != DEVPTS_MAGIC {
        return Err(LaunchError::new(Step::Console, format!("{PTMX} was exchanged")));
    }
    unlockpt(&master).at(Step::Console, "unlock")?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = ioctl_tiocgptpeer(&master, flags).at(Step::Console, "open the other side")?;
    Ok(Terminal { master, slave })
}

/// Makes the terminal `/dev/console` too: the open descriptor is mounted, not a path that may be exchanged
/// (CVE-2025-52565).
pub(super) fn mount(terminal: &Terminal, root: &Root) -> Result<(), LaunchError> {
    const CONSOLE: &str = "/dev/console";
    let place = root.make(CONSOLE, Missing::File).at(Step::Console, CONSOLE)?;
    let copy = mount::clone_fd(&terminal.slave, false).at(Step::Console, CONSOLE)?;
    mount::attach(copy, place).at(Step::Console, CONSOLE)
}
