//! The socket between daemon and monitor: `SOCK_SEQPACKET`, whole messages, file descriptors beside them.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{AtFlags, Mode, OFlags},
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
    },
};

/// Most descriptors that one message carries: three of stdio and the one of a body that did not fit.
const MOST_DESCRIPTORS: usize = 4;
/// Connections that may wait for [`accept`]; a daemon makes one.
const BACKLOG: i32 = 16;
/// Name of the socket in a pod's directory.
const NAME: &str = "monitor.sock";

/// Makes a connected pair. Neither end blocks.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

/// Listens on `monitor.sock` in `dir`, for the owner only; one that a dead monitor left is replaced.
pub(crate) fn listen(dir: &Path) -> io::Result<OwnedFd> {
    let dir = open_dir(dir)?;
    match rustix::fs::unlinkat(&dir, NAME, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    let socket = socket()?;
    rustix::net::bind(&socket, &address(dir.as_fd())?)?;
    // Nobody can connect before `listen`, so there is no moment at which others could.
    rustix::fs::chmodat(&dir, NAME, Mode::RUSR | Mode::WUSR, AtFlags::empty())?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// Connects to the monitor that listens in `dir`. Never waits: a full backlog is an error.
pub(crate) fn connect(dir: &Path) -> io::Result<OwnedFd> {
    let dir = open_dir(dir)?;
    let socket = socket()?;
    rustix::net::connect(&socket, &address(dir.as_fd())?)?;
    Ok(socket)
}

/// Whether [`connect`] failed because nobody listens.
pub(in crate::monitor) fn is_deserted(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

/// Takes one waiting connection; `WouldBlock` when there is none.
pub(crate) fn accept(listener: impl AsFd) -> io::Result<OwnedFd> {
    Ok(rustix::net::accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?)
}

/// Removes the socket's name from `dir`.
pub(crate) fn unlink(dir: &Path) -> io::Result<()> {
    std::fs::remove_file(dir.join(NAME))
}

/// Sends one message made of `parts`, with `descriptors`.
pub(in crate::monitor) fn send(
    socket: BorrowedFd<'_>,
    parts: &[IoSlice<'_>],
    descriptors: &[OwnedFd],
) -> io::Result<()> {
    if descriptors.len() > MOST_DESCRIPTORS {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let borrowed: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !borrowed.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&borrowed));
    }
    rustix::net::sendmsg(socket, parts, &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives one message into `buffer`; `None` at the end of the connection.
pub(super) fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Option<(usize, Vec<OwnedFd>)>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = rustix::net::recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut descriptors = Vec::new();
    for ancillary in control.drain() {
        if let RecvAncillaryMessage::ScmRights(passed) = ancillary {
            descriptors.extend(passed);
        }
    }
    if message.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok((message.bytes > 0).then_some((message.bytes, descriptors)))
}

fn socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

fn open_dir(dir: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// The socket's address by way of its open directory: a path may be longer than the 107 bytes of an address.
fn address(dir: BorrowedFd<'_>) -> io::Result<SocketAddrUnix> {
    use std::os::fd::AsRawFd;
    Ok(SocketAddrUnix::new(format!("/proc/self/fd/{}/{NAME}", dir.as_raw_fd()))?)
}
