//! A pod's monitor, as long as all is well; and what is done when it has died, cannot be talked to, or has to end.
//!
//! A monitor that is there but does not answer, or speaks no version of the protocol that this engine does, is *estranged*.
//! Its pod goes on as it is recorded. What needs the monitor is refused, and it is stopped without the monitor's help.

use std::{path::Path, sync::Arc, time::Duration};

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::time::{sleep, timeout};

use super::{Contact, Pod};
use crate::{
    engine::{
        Engine, EventKind,
        container::{Container, Phase},
    },
    error::chain,
    monitor::client::{self as monitor, Failure, Monitor},
    runtime::cgroup,
    state::Boot,
    sys::pidfd,
    task::blocking,
    types::{ExitStatus, Id, NamespaceMode, Signal, Timestamp},
};

/// How long a monitor may take for its end. It says itself after ten seconds that something holds it up.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(20);
/// How often it is looked whether containers of an estranged monitor have ended.
const LOOK: Duration = Duration::from_secs(1);

impl Engine {
    /// Ends a pod's monitor and removes the cgroups that are the engine's. Never fails: what cannot be ended is logged.
    pub(in crate::engine) async fn end_monitor(self: &Arc<Self>, pod: &Arc<Pod>, contact: Contact) {
        let has_ended = match contact {
            Contact::None => true,
            Contact::Monitor(monitor) => shut_down(&pod.id, &monitor).await,
            Contact::Estranged(_) => false,
        };
        if !has_ended {
            kill_monitor(&pod.id, &pod.dir).await;
            self.end_containers(pod).await;
        }
        // In a caller's cgroup, only that of the pod's own init is ours.
        let path = match pod.owns_cgroup() {
            true => Some(pod.cgroup.clone()),
            false if pod.config.namespaces.pid == NamespaceMode::Pod => {
                Some(self.config.cgroup_driver.container(&pod.cgroup, &pod.id))
            }
            false => None,
        };
        if let Some(path) = path {
            self.remove_cgroup(&path).await;
        }
    }

    /// What becomes of a pod whose monitor has died: its containers are killed by cgroup and their ends are unknown.
    pub(in crate::engine) async fn lose_monitor(self: &Arc<Self>, pod: &Arc<Pod>) {
        if let Contact::None = pod.set_not_ready() {
            return;
        }
        tracing::error!(pod = %pod.id, "the pod's monitor has died; its containers are killed");
        self.end_containers(pod).await;
        if let Err(error) = self.save_pod(pod).await {
            tracing::error!(pod = %pod.id, error = chain(&error), "the loss of the monitor could not be written down");
        }
        self.tell_of_pod(pod, EventKind::Stopped);
    }

    /// Kills the containers of a dead monitor.
    async fn end_containers(self: &Arc<Self>, pod: &Arc<Pod>) {
        for container in pod.containers() {
            if !container.phase().is_over() {
                self.kill_cgroup(&container).await;
                self.record_exit(&container, exit_without_monitor(&container)).await;
            }
        }
    }

    /// Ends the monitor of a pod of which nothing is known but its directory.
    pub(in crate::engine) async fn end_unknown_monitor(&self, pod: &Id, dir: &Path) {
        let has_ended = match Monitor::connect(dir).await {
            Ok((monitor, _)) => shut_down(pod, &monitor).await,
            Err(error) => error.says_that_nobody_lives(),
        };
        if !has_ended {
            kill_monitor(pod, dir).await;
        }
    }

    /// Meets a pod's monitor again after a connection ended; `false` when it is dead.
    pub(in crate::engine) async fn reconnect(self: &Arc<Self>, pod: &Arc<Pod>) -> bool {
        match Monitor::connect(&pod.dir).await {
            Ok(met) => self.take_up(pod, met).await,
            Err(error) if error.says_that_nobody_lives() => return false,
            Err(error) => {
                tracing::error!(pod = %pod.id, error = chain(&error), "the pod's monitor cannot be reached");
                pod.renew(Contact::Estranged(Arc::new(error)));
            }
        }
        true
    }

    /// Goes on with a monitor that was met again.
    async fn take_up(self: &Arc<Self>, pod: &Arc<Pod>, (monitor, snapshot): (Arc<Monitor>, monitor::Snapshot)) {
        if !pod.renew(Contact::Monitor(monitor)) {
            return;
        }
        tracing::warn!(pod = %pod.id, "connected to the pod's monitor anew");
        let held = snapshot.by_id();
        for container in pod.containers() {
            self.recover_container(&container, &held, Boot::Same).await;
        }
    }

    /// Looks after a pod whose monitor is estranged, until it has answered, or has died (`false`).
    pub(in crate::engine) async fn tend_estranged(self: &Arc<Self>, pod: &Arc<Pod>) -> bool {
        loop {
            // One connection for as long as it takes: a monitor that stands still has room for few that wait.
            let answer = Monitor::connect_patiently(&pod.dir);
            tokio::pin!(answer);
            let answer = loop {
                tokio::select! {
                    answer = &mut answer => break answer,
                    () = sleep(LOOK) => {}
                }
                if !pod.is_ready() {
                    return false;
                }
                self.look_for_ends(pod).await;
            };
            match answer {
                Ok(met) => {
                    self.take_up(pod, met).await;
                    return true;
                }
                Err(error) if error.says_that_nobody_lives() => return false,
                Err(_) => {
                    self.look_for_ends(pod).await;
                    sleep(LOOK).await;
                }
            }
        }
    }

    /// Takes note of ends that an estranged monitor has recorded.
    async fn look_for_ends(self: &Arc<Self>, pod: &Arc<Pod>) {
        for container in pod.containers() {
            if let Phase::Running { .. } = container.phase()
                && let Ok(Some(status)) = monitor::exit_record(&pod.dir, &container.id)
            {
                self.record_exit(&container, status).await;
            }
        }
    }

    /// Sends a signal to a container's main process without its monitor.
    pub(in crate::engine) async fn signal_directly(
        &self,
        container: &Container,
        signal: Signal,
    ) -> std::io::Result<()> {
        let Some(pid) = container.phase().pid() else { return Ok(()) };
        let cgroup = self.parts.cgroups.open(&container.cgroup);
        blocking(move || signal_within(&cgroup, pid, signal)).await
    }
}

/// Sends a signal to a process if it is in a cgroup.
fn signal_within(cgroup: &cgroup::Cgroup, pid: i32, signal: Signal) -> std::io::Result<()> {
    let process = Pid::from_raw(pid).ok_or(std::io::ErrorKind::InvalidInput)?;
    let process = pidfd_open(process, PidfdFlags::empty())?;
    // Only now: the id may be another process's by the time it is opened.
    match cgroup.processes() {
        Ok(processes) if processes.contains(&pid) => pidfd::send_signal(&process, signal.number()),
        Ok(_) => Ok(()),
        Err(error) => Err(std::io::Error::other(error)),
    }
}

/// Has a monitor end; says whether it will. One that processes hold up ends when they have died.
async fn shut_down(pod: &Id, monitor: &Monitor) -> bool {
    match timeout(SHUTDOWN_PATIENCE, monitor.shutdown()).await {
        Ok(Ok(())) => true,
        Ok(Err(error)) => {
            tracing::warn!(%pod, error = chain(&error), "the monitor did not shut down as asked");
            matches!(error, monitor::Error::Gone { .. }) || matches!(error.failure(), Some(Failure::Lingering))
        }
        Err(_) => {
            tracing::warn!(%pod, "the monitor does not answer and is killed");
            false
        }
    }
}

async fn kill_monitor(pod: &Id, dir: &Path) {
    if let Err(error) = monitor::kill_monitor(dir).await {
        tracing::warn!(%pod, error = chain(&error), "the monitor is left");
    }
}

/// How a container ended whose monitor has died: as that wrote it down, if it came to that.
pub(in crate::engine) fn exit_without_monitor(container: &Container) -> ExitStatus {
    recorded_end(container).unwrap_or_else(|| {
        let status = ExitStatus::unknown("the pod's monitor died", Timestamp::now());
        record_end(container, &status);
        status
    })
}

/// How a container ended, as it is recorded in its pod's directory.
pub(in crate::engine) fn recorded_end(container: &Container) -> Option<ExitStatus> {
    monitor::exit_record(&container.pod.dir, &container.id).unwrap_or_else(|error| {
        tracing::warn!(container = %container.id, error = chain(&error), "the record of a container's end is broken");
        None
    })
}

/// Records an end that no monitor knows of where those record theirs: the next daemon is to tell the same of it, also
/// when the database cannot be written. A file in memory: not worth a thread change.
pub(in crate::engine) fn record_end(container: &Container, status: &ExitStatus) {
    if let Err(error) = monitor::record_exit(&container.pod.dir, &container.id, status) {
        tracing::warn!(container = %container.id, error = chain(&error), "a container's end could not be recorded");
    }
}
