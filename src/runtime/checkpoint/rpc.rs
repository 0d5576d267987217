//! A conversation with `criu swrk`.

use std::{
    io::{self, IoSlice},
    os::fd::OwnedFd,
    path::Path,
    process::{Child, Command, Stdio},
};

use prost::Message as _;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendmsg, socketpair};

use super::{Error, system};

#[allow(clippy::all, clippy::pedantic, missing_docs, unreachable_pub, reason = "generated code")]
mod wire {
    include!(concat!(env!("OUT_DIR"), "/criu.rs"));
}

pub(super) use wire::{CgroupMode, Options, Request, RequestType, Response};

/// Largest answer, bytes.
const MAX_ANSWER: usize = 64 << 10;

/// A running `criu swrk`.
pub(super) struct Criu {
    process: Child,
    socket: OwnedFd,
}

impl Criu {
    /// Starts it. It ends when it has been dropped, at the latest after the request that it is working on.
    pub(super) fn start(program: &Path) -> Result<Self, Error> {
        let (socket, its) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .map_err(|errno| system("make a socket for criu")(errno.into()))?;
        // Its standard input is the socket: no other descriptor survives the execution.
        let process = Command::new(program)
            .args(["swrk", "0"])
            .stdin(its)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(system(format!("start {}", program.display())))?;
        Ok(Self { process, socket })
    }

    pub(super) fn send(&self, request: &Request) -> Result<(), Error> {
        let bytes = request.encode_to_vec();
        sendmsg(&self.socket, &[IoSlice::new(&bytes)], &mut Default::default(), SendFlags::NOSIGNAL)
            .map(drop)
            .map_err(|errno| system("ask criu")(errno.into()))
    }

    pub(super) fn receive(&self) -> Result<Response, Error> {
        let mut buffer = vec![0; MAX_ANSWER];
        let (length, _) =
            recv(&self.socket, &mut buffer, RecvFlags::empty()).map_err(|errno| system("hear criu")(errno.into()))?;
        if length == 0 {
            return Err(system("hear criu")(io::ErrorKind::UnexpectedEof.into()));
        }
        Response::decode(&buffer[..length])
            .map_err(|error| system("hear criu")(io::Error::new(io::ErrorKind::InvalidData, error)))
    }
}

impl Drop for Criu {
    fn drop(&mut self) {
        // Without the other end it stops; killed, it could leave the container stopped.
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
        let _ = self.process.wait();
    }
}
