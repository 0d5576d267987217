//! Frames: what one message between daemon and monitor looks like.
//!
//! ```text
//! byte  0        1      2 – 3             4 – 7      8 …
//!       layout   kind   flags (LE)        sequence   JSON body
//! ```
//! A body that does not fit in [`INLINE`] bytes travels in a sealed memfd, the first descriptor of the message; then
//! [`FLAG_MEMFD`] is set and nothing follows the header. So messages stay small whatever the plans hold.

use std::{
    io::{self, IoSlice},
    os::fd::{AsFd, OwnedFd},
};

use rustix::fs::{MemfdFlags, SealFlags};
use serde::{Serialize, de::DeserializeOwned};

use super::socket;

/// Version of the header's layout.
const LAYOUT: u8 = 1;
const HEADER: usize = 8;
/// Largest body beside the header, bytes.
const INLINE: usize = 8 * 1024;
/// Largest body at all, bytes; a plan takes some tens of KiB.
const LARGEST: usize = 16 * 1024 * 1024;
/// The body is in a memfd.
const FLAG_MEMFD: u16 = 1;

/// What a frame is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Daemon to monitor.
    Request,
    /// Monitor to daemon, with the request's sequence number.
    Reply,
    /// Monitor to daemon, unasked, with sequence number 0.
    Event,
    /// One that a newer peer knows.
    Unknown(u8),
}

/// One message.
#[derive(Debug)]
pub(crate) struct Frame {
    pub kind: Kind,
    /// Number of the request, chosen by the daemon.
    pub sequence: u32,
    body: Body,
    /// Descriptors that belong to the message.
    pub descriptors: Vec<OwnedFd>,
}

#[derive(Debug)]
enum Body {
    Inline(Vec<u8>),
    Memfd(OwnedFd),
}

impl Kind {
    const fn byte(self) -> u8 {
        match self {
            Self::Request => 1,
            Self::Reply => 2,
            Self::Event => 3,
            Self::Unknown(byte) => byte,
        }
    }

    const fn from_byte(byte: u8) -> Self {
        match byte {
            1 => Self::Request,
            2 => Self::Reply,
            3 => Self::Event,
            other => Self::Unknown(other),
        }
    }
}

impl Frame {
    /// Makes a frame of a message and the descriptors that go with it.
    pub(crate) fn new(
        kind: Kind,
        sequence: u32,
        message: &impl Serialize,
        descriptors: Vec<OwnedFd>,
    ) -> io::Result<Self> {
        let bytes = serde_json::to_vec(message)?;
        let body = if bytes.len() <= INLINE { Body::Inline(bytes) } else { Body::Memfd(sealed_memfd(&bytes)?) };
        Ok(Self { kind, sequence, body, descriptors })
    }

    /// Sends the frame. The descriptors stay open here too, until the frame is dropped.
    pub(crate) fn send(&mut self, socket: impl AsFd) -> io::Result<()> {
        let (flags, inline, memfd) = match &self.body {
            Body::Inline(bytes) => (0, bytes.as_slice(), None),
            Body::Memfd(memfd) => (FLAG_MEMFD, &[][..], Some(memfd.try_clone()?)),
        };
        let [flag_low, flag_high] = flags.to_le_bytes();
        let [s0, s1, s2, s3] = self.sequence.to_le_bytes();
        let header: [u8; HEADER] = [LAYOUT, self.kind.byte(), flag_low, flag_high, s0, s1, s2, s3];
        let parts = [IoSlice::new(&header), IoSlice::new(inline)];
        let Some(memfd) = memfd else {
            return socket::send(socket.as_fd(), &parts, &self.descriptors);
        };
        self.descriptors.insert(0, memfd);
        let sent = socket::send(socket.as_fd(), &parts, &self.descriptors);
        self.descriptors.remove(0);
        sent
    }

    /// Receives a frame; `None` at the end of the connection.
    pub(crate) fn receive(socket: impl AsFd) -> io::Result<Option<Self>> {
        let mut buffer = [0; HEADER + INLINE];
        let Some((length, mut descriptors)) = socket::receive(socket.as_fd(), &mut buffer)? else {
            return Ok(None);
        };
        let Some(([layout, kind, f0, f1, s0, s1, s2, s3], inline)) = buffer[..length].split_first_chunk() else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        if *layout != LAYOUT {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let body = if u16::from_le_bytes([*f0, *f1]) & FLAG_MEMFD == 0 {
            Body::Inline(inline.to_vec())
        } else if descriptors.is_empty() {
            return Err(io::ErrorKind::InvalidData.into());
        } else {
            Body::Memfd(descriptors.remove(0))
        };
        let sequence = u32::from_le_bytes([*s0, *s1, *s2, *s3]);
        Ok(Some(Self { kind: Kind::from_byte(*kind), sequence, body, descriptors }))
    }

    /// Whether reading the message takes much memory for a moment.
    pub(crate) fn is_large(&self) -> bool {
        matches!(self.body, Body::Memfd(_))
    }

    /// Reads the message.
    pub(crate) fn message<T: DeserializeOwned>(&self) -> io::Result<T> {
        Ok(match &self.body {
            Body::Inline(bytes) => serde_json::from_slice(bytes)?,
            Body::Memfd(memfd) => serde_json::from_slice(&read_memfd(memfd)?)?,
        })
    }
}

fn sealed_memfd(bytes: &[u8]) -> io::Result<OwnedFd> {
    let memfd = rustix::fs::memfd_create("berth:frame", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut rest = bytes;
    while !rest.is_empty() {
        let written = rustix::io::write(&memfd, rest)?;
        rest = &rest[written..];
    }
    rustix::fs::fcntl_add_seals(&memfd, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    Ok(memfd)
}

/// Reads a whole memfd by position: its offset is shared with the sender's.
fn read_memfd(memfd: &OwnedFd) -> io::Result<Vec<u8>> {
    let size = usize::try_from(rustix::fs::fstat(memfd)?.st_size).unwrap_or(usize::MAX);
    if size > LARGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; size];
    let mut filled = 0;
    while filled < size {
        match rustix::io::pread(memfd, &mut bytes[filled..], filled as u64)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => filled += count,
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through_a_socket(message: &String, descriptors: Vec<OwnedFd>) -> (Frame, String) {
        let (here, there) = socket::pair().expect("pair");
        Frame::new(Kind::Request, 0xdead_beef, message, descriptors).expect("frame").send(&here).expect("send");
        let frame = Frame::receive(&there).expect("receive").expect("a frame");
        let received = frame.message().expect("message");
        (frame, received)
    }

    #[test]
    fn bodies_of_any_size_arrive_with_their_descriptors() {
        for size in [0, 1, INLINE - 2, INLINE - 1, 300_000] {
            let (read, write) = rustix::pipe::pipe().expect("pipe");
            let message = "x".repeat(size);
            let (frame, received) = through_a_socket(&message, vec![write]);
            assert_eq!((frame.kind, frame.sequence, received), (Kind::Request, 0xdead_beef, message));
            let [write] = <[OwnedFd; 1]>::try_from(frame.descriptors).expect("one descriptor");
            rustix::io::write(&write, b"!").expect("write");
            assert_eq!(rustix::io::read(&read, &mut [0; 2][..]).expect("read"), 1);
        }
    }

    #[test]
    fn the_end_of_the_connection_is_no_frame() {
        let (here, there) = socket::pair().expect("pair");
        assert_eq!(Frame::receive(&there).expect_err("nothing yet").kind(), io::ErrorKind::WouldBlock);
        drop(here);
        assert!(Frame::receive(&there).expect("receive").is_none());
    }

    #[test]
    fn messages_that_are_no_frames_are_refused() {
        let (here, there) = socket::pair().expect("pair");
        let memfd_flag_without_memfd = [LAYOUT, 1, 1, 0, 0, 0, 0, 0];
        for bad in [&[0_u8; 3][..], &[9; 20][..], &memfd_flag_without_memfd[..]] {
            socket::send(here.as_fd(), &[IoSlice::new(bad)], &[]).expect("send");
            assert_eq!(Frame::receive(&there).expect_err("refused").kind(), io::ErrorKind::InvalidData);
        }
    }

    #[test]
    fn kinds_of_a_newer_peer_are_kept_apart() {
        let (here, there) = socket::pair().expect("pair");
        Frame::new(Kind::Unknown(77), 1, &(), vec![]).expect("frame").send(&here).expect("send");
        assert_eq!(Frame::receive(&there).expect("receive").expect("frame").kind, Kind::Unknown(77));
    }

    #[test]
    fn a_long_directory_does_not_hinder_the_socket() {
        let root = tempfile::tempdir().expect("dir");
        let dir = root.path().join("d".repeat(120));
        std::fs::create_dir(&dir).expect("mkdir");
        let listener = socket::listen(&dir).expect("listen");
        let _again = socket::listen(&dir).expect("a left-over is replaced");
        drop(listener);
        let listener = socket::listen(&dir).expect("listen");
        let client = socket::connect(&dir).expect("connect");
        let server = socket::accept(&listener).expect("accept");
        Frame::new(Kind::Event, 0, &"hi", vec![]).expect("frame").send(&server).expect("send");
        assert_eq!(Frame::receive(&client).expect("receive").expect("frame").message::<String>().expect("text"), "hi");
        socket::unlink(&dir).expect("unlink");
        assert!(socket::connect(&dir).is_err());
    }
}
