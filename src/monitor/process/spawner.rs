//! The spawner process: forks monitors, and nothing else.
//!
//! It is started by the daemon, has one thread, and keeps no state, so that a fork of it is cheap and clean: a monitor
//! shares the spawner's memory until one of both writes to it. It ends when the daemon closes the socket.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    process::ExitCode,
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::{Mode, OFlags},
};

use super::{Monitor, note, reap};
use crate::{
    monitor::wire::{Failure, Frame, Kind, Reply},
    runtime::cgroup::Hierarchy,
    sys::fork::{Fork, fork},
};

/// Runs `berth spawner`, and, in the processes that it forks, a monitor each. Standard input is the daemon's socket.
///
/// To be called before the process has any thread.
pub fn main() -> ExitCode {
    let served = start().and_then(|socket| {
        let cgroups = Hierarchy::detect().map_err(io::Error::other)?;
        Ok((serve(socket)?, cgroups))
    });
    match served {
        Ok((None, _)) => ExitCode::SUCCESS,
        Ok((Some(request), cgroups)) => Monitor::run(request, cgroups),
        Err(error) => {
            note("run the spawner, which only the daemon can start", &error);
            ExitCode::FAILURE
        }
    }
}

/// Makes the process what a spawner is, and takes the socket off standard input.
fn start() -> io::Result<OwnedFd> {
    rustix::thread::set_name(c"berth:spawner")?;
    reap::block_signals()?;
    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    rustix::stdio::dup2_stdin(rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)?;
    Ok(socket)
}

/// Forks a monitor for each request. Returns in the spawner at the end of the connection, and in each monitor with its
/// request.
fn serve(socket: OwnedFd) -> io::Result<Option<Frame>> {
    let ends_of_monitors = reap::ends_of_children()?;
    loop {
        let mut ready = [PollFd::new(&socket, PollFlags::IN), PollFd::new(&ends_of_monitors, PollFlags::IN)];
        poll(&mut ready, None)?;
        reap::acknowledge(&ends_of_monitors);
        while reap::next().is_some() {}
        match Frame::receive(&socket) {
            Ok(Some(request)) => match fork() {
                Ok(Fork::Child) => return Ok(Some(request)),
                Ok(Fork::Parent(_)) => {}
                Err(error) => refuse(&request, &error),
            },
            Ok(None) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => note("receive a request for a monitor", &error),
        }
    }
}

/// Tells the requester that there is no monitor.
fn refuse(request: &Frame, error: &io::Error) {
    let answer: Result<Reply, Failure> = Err(Failure::system("fork a monitor", error));
    let sent = Frame::new(Kind::Reply, request.sequence, &answer, vec![])
        .and_then(|mut frame| request.descriptors.first().map_or(Ok(()), |connection| frame.send(connection)));
    if let Err(error) = sent {
        note("answer a request for a monitor", &error);
    }
}
