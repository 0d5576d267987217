//! A monitor that cannot be talked to: then it is a process like any other.

use std::{
    fs, io,
    os::{fd::OwnedFd, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    net::sockopt::socket_peercred,
    process::{Pid, PidfdFlags, pidfd_open},
};

use super::Error;
use crate::{
    monitor::{LOG, wire::socket},
    sys::{pidfd, poll::readable},
    task::blocking,
};

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
        Err(error) if socket::is_deserted(&error) => return Ok(()),
        connected => connected?,
    };
    // Of a listening socket, the kernel tells who made it listen: the monitor.
    let id = socket_peercred(&socket)?.pid;
    let Some(process) = open(id)? else { return Ok(()) };
    if !is_monitor(id, dir)? {
        return Ok(());
    }
    pidfd::send_signal(&process, libc::SIGKILL)?;
    if readable(&process, Instant::now() + DEATH)? { Ok(()) } else { Err(io::ErrorKind::TimedOut.into()) }
}

/// `None` for one that has been reaped.
fn open(id: Pid) -> io::Result<Option<OwnedFd>> {
    match pidfd_open(id, PidfdFlags::empty()) {
        Err(Errno::SRCH) => Ok(None),
        opened => Ok(Some(opened?)),
    }
}

/// Whether a process is what its id says: a dead monitor's socket may be kept open by a process that it had forked, and its
/// id be another one's by now. A monitor, or what it has forked, writes its notes into the pod's directory.
fn is_monitor(id: Pid, dir: &Path) -> io::Result<bool> {
    let notes = |path: PathBuf| match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        metadata => metadata.map(|metadata| Some((metadata.dev(), metadata.ino()))),
    };
    let own = notes(dir.join(LOG))?;
    Ok(own.is_some() && notes(format!("/proc/{}/fd/2", id.as_raw_nonzero()).into())? == own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_no_monitor_is_not_killed() {
        let pod = tempfile::tempdir().expect("a directory");
        kill(pod.path()).expect("nobody");
        let listener = socket::listen(pod.path()).expect("listen");
        kill(pod.path()).expect("this process, which has no notes there");
        fs::write(pod.path().join(LOG), "").expect("write the notes of another");
        kill(pod.path()).expect("this process, which has other notes");
        drop(listener);
        kill(pod.path()).expect("nobody any more");
    }
}
