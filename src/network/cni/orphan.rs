//! Plugins that the last daemon left running.

use std::{
    fs,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::{sys::poll::readable, types::Id};

/// How long is waited for one to be gone after it was killed.
const PATIENCE: Duration = Duration::from_secs(5);

/// Kills the plugins that work on one of `pods`, and what these have started, and waits for their end: what they would
/// still make after DEL, nobody would take away. Blocking.
pub(super) fn kill(pods: &[Id]) {
    if pods.is_empty() {
        return;
    }
    let marks: Vec<String> = pods.iter().map(|pod| format!("CNI_CONTAINERID={pod}")).collect();
    let Ok(processes) = fs::read_dir("/proc") else { return };
    let ids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let killed: Vec<OwnedFd> = ids.filter_map(|id| kill_if_marked(id, &marks)).collect();
    for process in killed {
        if !matches!(readable(&process, Instant::now() + PATIENCE), Ok(true)) {
            tracing::warn!("a cni plugin of the last daemon does not end");
        }
    }
}

fn kill_if_marked(id: i32, marks: &[String]) -> Option<OwnedFd> {
    // Before its environment is read: the number is its own from here on.
    let process = pidfd_open(Pid::from_raw(id)?, PidfdFlags::empty()).ok()?;
    let environment = fs::read(format!("/proc/{id}/environ")).ok()?;
    let is_marked = environment.split(|&byte| byte == 0).any(|word| marks.iter().any(|mark| mark.as_bytes() == word));
    if !is_marked || pidfd_send_signal(&process, Signal::KILL).is_err() {
        return None;
    }
    tracing::warn!(pid = id, "killed a cni plugin that the last daemon had started");
    Some(process)
}
