//! Stopping and killing all processes of a directory in one hierarchy.
//!
//! Which way there is shows in the files: `cgroup.kill` and `cgroup.freeze` (v2, kernel 5.14 and 5.2), `freezer.state`
//! (v1's freezer). So one function serves v2, a hybrid host's unified hierarchy and v1 alone.

use std::{path::Path, time::Duration};

use rustix::process::{Pid, Signal, kill_process};

use super::{
    Error, file,
    tree::{processes, wait},
};

/// How long killed processes may take to die.
const DEATH_BOUND: Duration = Duration::from_secs(2);
/// How long processes may take to stop; a task in an uninterruptible system call stops only after it.
const FREEZE_BOUND: Duration = Duration::from_secs(2);

/// Kills all processes in `directory` and below and waits until none is left alive. They must not be frozen by
/// another hierarchy.
pub(super) fn kill(directory: &Path) -> Result<(), Error> {
    let dead = match write_if_present(&directory.join("cgroup.kill"), "1")? {
        true => wait(DEATH_BOUND, || Ok(processes(directory)?.is_empty()))?,
        false => wait(DEATH_BOUND, || signal_all(directory))?,
    };
    if dead {
        return Ok(());
    }
    Err(Error::Unkillable { path: directory.to_owned(), count: processes(directory)?.len() })
}

/// Sends SIGKILL to whatever is there; says whether there was nothing. Frozen meanwhile, so that none forks away.
fn signal_all(directory: &Path) -> Result<bool, Error> {
    set_frozen(directory, true)?;
    let pids = processes(directory)?;
    for pid in pids.iter().filter_map(|pid| Pid::from_raw(*pid)) {
        // One that is gone by now needs no signal.
        let _ = kill_process(pid, Signal::KILL);
    }
    // A frozen task of v1 dies only when it is thawed.
    set_frozen(directory, false)?;
    Ok(pids.is_empty())
}

/// Stops all processes in `directory` and below, and waits until they are.
pub(super) fn freeze(directory: &Path) -> Result<(), Error> {
    if !set_frozen(directory, true)? {
        return Err(Error::Unsupported { file: "freezer.state".into(), value: "FROZEN".into() });
    }
    if wait(FREEZE_BOUND, || is_frozen(directory))? {
        return Ok(());
    }
    set_frozen(directory, false)?;
    Err(Error::Unfreezable { path: directory.to_owned() })
}

/// Lets all processes in `directory` and below go on.
pub(super) fn thaw(directory: &Path) -> Result<(), Error> {
    set_frozen(directory, false).map(drop)
}

fn is_frozen(directory: &Path) -> Result<bool, Error> {
    if let Some(events) = file::read_if_present(&directory.join("cgroup.events"))? {
        return Ok(file::keyed(&events, "frozen") == Some(1));
    }
    // On v1 a task that was missed by the first sweep is only caught by writing again.
    set_frozen(directory, true)?;
    Ok(file::read(&directory.join("freezer.state"))?.trim() == "FROZEN")
}

/// Asks for it, without waiting; says whether this directory can freeze at all.
fn set_frozen(directory: &Path, frozen: bool) -> Result<bool, Error> {
    let (v2, v1) = if frozen { ("1", "FROZEN") } else { ("0", "THAWED") };
    Ok(write_if_present(&directory.join("cgroup.freeze"), v2)?
        || write_if_present(&directory.join("freezer.state"), v1)?)
}

fn write_if_present(path: &Path, value: &str) -> Result<bool, Error> {
    match file::write(path, value) {
        Ok(()) => Ok(true),
        Err(Error::Write { source, .. }) if matches!(source.raw_os_error(), Some(libc::ENOENT | libc::ENODEV)) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}
