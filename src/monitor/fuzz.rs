//! Fuzz target of the frames between daemon and monitor.

use std::os::fd::{AsFd as _, OwnedFd};

use super::wire::{Failure, Frame, Notice, Reply, Request, socket};

/// The first byte says whether the rest comes as a message or, behind a head of eight bytes, in a file beside it.
pub(crate) fn frame(input: &[u8]) {
    let Some((choice, bytes)) = input.split_first() else { return };
    let (here, there) = socket::pair().expect("a pair");
    let (message, descriptors) = match bytes.split_first_chunk::<8>() {
        Some((head, body)) if choice & 1 == 1 => (&head[..], vec![memfd(body)]),
        _ => (bytes, vec![]),
    };
    // The kernel takes no message that is larger than the socket's buffer.
    if socket::send(here.as_fd(), &[std::io::IoSlice::new(message)], &descriptors).is_err() {
        return;
    }
    let Ok(Some(frame)) = Frame::receive(&there) else { return };
    let _ = frame.message::<Request<'_>>();
    let _ = frame.message::<Result<Reply, Failure>>();
    let _ = frame.message::<Notice>();
}

fn memfd(bytes: &[u8]) -> OwnedFd {
    let memfd = rustix::fs::memfd_create("berth:fuzz", rustix::fs::MemfdFlags::CLOEXEC).expect("a memfd");
    rustix::io::write(&memfd, bytes).expect("written");
    memfd
}
