//! Running one hook.

use std::{
    fs::File,
    io::{self, Read, Seek as _, Write as _},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::process::{CommandExt as _, ExitStatusExt as _},
    },
    path::Path,
    process::{Child, ChildStderr, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{MemfdFlags, memfd_create},
    io::{Errno, ioctl_fionbio},
    process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open, waitid},
};

use super::Hook;
use crate::runtime::error::{LaunchError, Step};

/// As much of a hook's standard error as a message shows, bytes.
const SHOWN: usize = 2048;

/// Runs a hook and waits for its end. What it has started itself and not waited for is killed: nothing of the host may go
/// on in a container unasked.
///
/// # Errors
/// When it cannot be run, does not end in time, or ends with another code than 0.
pub(super) fn run(hook: &Hook, state: &str, directory: &Path) -> Result<(), LaunchError> {
    let failed = |why: String| LaunchError::new(Step::Hook, format!("{} {}: {why}", hook.phase, hook.path.display()));
    let system = |error: io::Error| failed(error.to_string());
    let mut child = command(hook, directory).stdin(input(state).map_err(system)?).spawn().map_err(system)?;
    let limit = hook.limit();
    let mut complaint = Vec::new();
    let ended = watch(&mut child, limit, &mut complaint);
    // Before it is reaped: until then no other process group can have its number.
    let _ = id_of(&child).map(|group| kill_process_group(group, Signal::KILL));
    let status = child.wait().map_err(system)?;
    let complaint = String::from_utf8_lossy(&complaint);
    let complaint = match complaint.trim() {
        "" => String::new(),
        text => format!(": {text}"),
    };
    match (ended.map_err(system)?, status.code(), status.signal()) {
        (true, Some(0), _) => Ok(()),
        (true, Some(code), _) => Err(failed(format!("it ended with code {code}{complaint}"))),
        (true, None, signal) => {
            Err(failed(format!("it was killed by signal {}{complaint}", signal.unwrap_or_default())))
        }
        (false, ..) => Err(failed(format!("it did not end within {} s{complaint}", limit.as_secs()))),
    }
}

fn command(hook: &Hook, directory: &Path) -> Command {
    let mut command = Command::new(&hook.path);
    if let [name, args @ ..] = &hook.args[..] {
        command.arg0(name).args(args);
    }
    command.env_clear();
    command.envs(hook.env.iter().filter_map(|entry| entry.split_once('=')));
    command.current_dir(directory).process_group(0).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// The state as something to read that needs nobody who writes it meanwhile.
fn input(state: &str) -> io::Result<Stdio> {
    let mut file = File::from(memfd_create("state", MemfdFlags::CLOEXEC)?);
    file.write_all(state.as_bytes())?;
    file.rewind()?;
    Ok(file.into())
}

/// Waits for the end of a hook (`true`) or of its time, and keeps the beginning of what it says.
fn watch(child: &mut Child, limit: Duration, said: &mut Vec<u8>) -> io::Result<bool> {
    let id = id_of(child).ok_or(Errno::SRCH)?;
    let process = pidfd_open(id, PidfdFlags::empty())?;
    let mut stderr = child.stderr.take();
    if let Some(stderr) = &stderr {
        ioctl_fionbio(stderr, true)?;
    }
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        wait(&process, stderr.as_ref(), left)?;
        // First whether it has ended, then what it has said until then.
        let has_ended = has_ended(&process)?;
        if stderr.as_mut().is_some_and(|stderr| !listen(stderr, said)) {
            stderr = None;
        }
        if has_ended {
            return Ok(true);
        }
    }
}

fn wait(process: &OwnedFd, stderr: Option<&ChildStderr>, left: Duration) -> io::Result<()> {
    let timeout = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
    let mut watched = vec![PollFd::new(process, PollFlags::IN)];
    watched.extend(stderr.map(|stderr| PollFd::from_borrowed_fd(stderr.as_fd(), PollFlags::IN)));
    match poll(&mut watched, Some(&timeout)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

fn has_ended(process: &OwnedFd) -> io::Result<bool> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    Ok(waitid(WaitId::PidFd(process.as_fd()), options)?.is_some())
}

/// Reads what is there. `false` when nothing more comes.
fn listen(stderr: &mut ChildStderr, said: &mut Vec<u8>) -> bool {
    let mut part = [0; SHOWN];
    loop {
        match stderr.read(&mut part) {
            Ok(0) => return false,
            Ok(length) => {
                let room = SHOWN.saturating_sub(said.len());
                said.extend_from_slice(&part[..length.min(room)]);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
        }
    }
}

fn id_of(child: &Child) -> Option<Pid> {
    Pid::from_raw(child.id().cast_signed())
}
