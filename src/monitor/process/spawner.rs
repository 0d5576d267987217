//! The spawner process: forks monitors, and nothing else.
//!
//! It is started by the daemon, has one thread, and keeps no state, so that a fork of it is cheap and clean: a monitor
//! shares the spawner's memory until one of both writes to it. It ends when the daemon closes the socket.
//!
//! One monitor is always forked in advance, as far as a monitor can be made without knowing its pod. This spare waits at
//! the daemon's socket in the spawner's place, so that nobody waits for a fork.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    process::ExitCode,
};

use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, eventfd, poll},
    fs::{Mode, OFlags},
};

use super::{Monitor, birth::Spare, note, reap};
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
        Ok((Some((spare, request)), cgroups)) => Monitor::run(spare, request, cgroups),
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

/// Sees to it that there is a spare. Returns in the spawner at the end of the connection, and in each spare with its
/// request, or without one at the end of the connection.
fn serve(socket: OwnedFd) -> io::Result<Option<(Spare, Frame)>> {
    let ends_of_monitors = reap::ends_of_children()?;
    let taken = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let mut spare = None;
    loop {
        let mut refusal = None;
        if spare.is_none() {
            match fork() {
                Ok(Fork::Child) => return wait(&socket, &taken),
                Ok(Fork::Parent(pid)) => spare = Some(pid),
                Err(error) => refusal = Some(error),
            }
        }
        // Without a spare, requests are refused here; the next one is another chance.
        let requests = if refusal.is_some() { PollFlags::IN } else { PollFlags::empty() };
        let mut ready = [
            PollFd::new(&socket, requests),
            PollFd::new(&taken, PollFlags::IN),
            PollFd::new(&ends_of_monitors, PollFlags::IN),
        ];
        poll(&mut ready, None)?;
        let hung_up = ready[0].revents().contains(PollFlags::HUP);
        if rustix::io::read(&taken, &mut [0; 8]).is_ok() {
            spare = None;
        }
        reap::acknowledge(&ends_of_monitors);
        while let Some((pid, _)) = reap::next() {
            spare = spare.filter(|spare| *spare != pid);
        }
        if let Some(error) = refusal {
            refuse_next(&socket, &error);
        }
        if hung_up {
            return Ok(None);
        }
    }
}

/// What a spare does until it has a request. The spawner is told then, to fork another one.
fn wait(socket: &OwnedFd, taken: &OwnedFd) -> io::Result<Option<(Spare, Frame)>> {
    let spare = Spare::prepare();
    loop {
        poll(&mut [PollFd::new(socket, PollFlags::IN)], None)?;
        match Frame::receive(socket) {
            Ok(request) => {
                rustix::io::write(taken, &1_u64.to_ne_bytes())?;
                return Ok(request.map(|request| (spare, request)));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => note("receive a request for a monitor", &error),
        }
    }
}

/// Answers a request, if there is one, that no process can be had for it.
fn refuse_next(socket: &OwnedFd, error: &io::Error) {
    match Frame::receive(socket) {
        Ok(Some(request)) => refuse(&request, error),
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => note("receive a request for a monitor", &error),
        Ok(None) | Err(_) => {}
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
