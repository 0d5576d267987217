//! Terminals of containers and execs.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{pty::OpenptFlags, termios::Winsize};

/// Opens the other side of a terminal's master.
///
/// As long as somebody has it open, reading from the master means waiting for output; else it fails with `EIO`, and the
/// monitor would take a container that has closed its terminal for a moment for one that has no more to say.
pub(super) fn open_slave(master: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    Ok(rustix::pty::ioctl_tiocgptpeer(master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?)
}

/// Sets the size; the kernel tells the foreground processes by `SIGWINCH`.
pub(super) fn resize(terminal: impl AsFd, columns: u16, rows: u16) -> io::Result<()> {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    Ok(rustix::termios::tcsetwinsize(terminal, size)?)
}
