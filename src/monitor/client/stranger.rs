//! A monitor that cannot be talked to: then it is a process like any other.

use std::{io, os::fd::OwnedFd, path::Path, time::Duration};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::sockopt::socket_peercred,
    process::{PidfdFlags, pidfd_open},
};

use super::Error;
use crate::{monitor::wire::socket, sys::pidfd, task::blocking};

/// How long a killed monitor may take to end.
const DEATH: Duration = Duration::from_secs(10);

/// Kills the monitor of the pod whose directory is `dir`, with whatever it is just doing, and waits for its end. Its
/// processes go on; they have to be killed by cgroup. Fine when nobody lives there.
///
/// # Errors
/// [`Error::Kill`] when it cannot be found or does not end.
pub async fn kill_monitor(dir: &Path) -> Result<(), Error> {
    let place = dir.to_owned();
    let killed = blocking(move || kill(&place)).await;
    killed.map_err(|source| Error::Kill { dir: dir.to_owned(), source })
}

fn kill(dir: &Path) -> io::Result<()> {
    let socket = match socket::connect(dir) {
        Ok(socket) => socket,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    // Of a listening socket, the kernel tells who made it listen: the monitor.
    let process = pidfd_open(socket_peercred(&socket)?.pid, PidfdFlags::empty())?;
    // It lived until here, so the id was its own, if its socket is not closed by now.
    if has_hung_up(&socket)? {
        return Ok(());
    }
    pidfd::send_signal(&process, libc::SIGKILL)?;
    let mut ended = [PollFd::new(&process, PollFlags::IN)];
    let limit = Timespec { tv_sec: DEATH.as_secs().cast_signed(), tv_nsec: 0 };
    if poll(&mut ended, Some(&limit))? == 0 { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) }
}

fn has_hung_up(socket: &OwnedFd) -> io::Result<bool> {
    let mut state = [PollFd::new(socket, PollFlags::IN)];
    poll(&mut state, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
    Ok(state[0].revents().contains(PollFlags::HUP))
}
