//! A container in the monitor's keeping, from its launch to the report of its end.
//!
//! ```text
//! launch ──▶ Running ──main process reaped──▶ Ending ──output drained, or late──▶ Ended ──forget──▶ (gone)
//! ```

use std::{
    cell::Cell,
    os::fd::OwnedFd,
    path::Path,
    time::{Duration, Instant},
};

use super::{
    note,
    oom::OomWatch,
    poll::{Poller, Token},
    stdio::{Ends, Stdio},
};
use crate::{
    monitor::{
        record,
        wire::{ContainerIo, Failure, Held, Started},
    },
    runtime::{
        cgroup::{Cgroup, Hierarchy},
        checkpoint::Restore,
        launch::{self, Identity, Launched, PodInit},
        plan::ContainerPlan,
    },
    sys::pidfd,
    types::{ExitStatus, Id, Signal, Timestamp},
};

/// How long the report of an end waits for the log (a full disk) and for attached clients. They get their output later,
/// as long as the container is not forgotten.
const PATIENCE: Duration = Duration::from_secs(1);

/// A container.
#[derive(Debug)]
pub(super) struct Container {
    id: Id,
    pid: i32,
    pidfd: OwnedFd,
    user: Identity,
    started_at: Timestamp,
    cgroup: Cgroup,
    oom: Option<OomWatch>,
    /// A daemon had its main process killed.
    killed_on_request: Cell<bool>,
    state: State,
    pub stdio: Stdio,
}

#[derive(Debug)]
enum State {
    Running,
    Ending { status: ExitStatus, report_by: Instant },
    Ended { status: ExitStatus },
}

impl Container {
    /// Launches it, from a checkpoint if there is one; its program runs when this returns.
    pub(super) fn launch(
        plan: &ContainerPlan,
        io: &ContainerIo,
        from: Option<&Restore>,
        pod: &PodInit,
        cgroups: &Hierarchy,
        poller: &mut Poller,
    ) -> Result<Self, Failure> {
        let (ends, child_ends) = Ends::open(io, plan.process.terminal)?;
        let cgroup = cgroups.open(&plan.cgroup);
        let launched = match from {
            Some(from) => launch::restore(plan, from, pod, child_ends)?,
            None => launch::container(plan, pod, child_ends)?,
        };
        let Launched { pid, pidfd, console, user } = launched;
        let started_at = Timestamp::now();
        let stdio = Stdio::new(ends, console, poller).map_err(|error| {
            // Nobody will hear of it, so it must not live; the event loop reaps it as it does orphans.
            clear(&cgroup);
            Failure::system("watch stdio", &error)
        })?;
        let oom = OomWatch::new(&cgroup, poller);
        let (id, killed_on_request, state) = (plan.id.clone(), Cell::new(false), State::Running);
        Ok(Self { id, pid, pidfd, user, started_at, cgroup, oom, killed_on_request, state, stdio })
    }

    pub(super) fn id(&self) -> &Id {
        &self.id
    }

    pub(super) fn pid(&self) -> i32 {
        self.pid
    }

    pub(super) fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    pub(super) fn is_running(&self) -> bool {
        matches!(self.state, State::Running)
    }

    pub(super) fn has_ended(&self) -> bool {
        matches!(self.state, State::Ended { .. })
    }

    /// What an exec is launched into.
    pub(super) fn target<'a>(&'a self, entrance: &'a crate::runtime::cgroup::Entrance) -> launch::Target<'a> {
        use std::os::fd::AsFd;
        launch::Target { pid: self.pid, pidfd: self.pidfd.as_fd(), user: &self.user, entrance: Some(entrance) }
    }

    pub(super) fn started(&self) -> Started {
        Started { pid: self.pid, at: self.started_at, user: self.user.clone() }
    }

    pub(super) fn held(&self) -> Held {
        let exit = match &self.state {
            State::Ended { status } => Some(status.clone()),
            State::Running | State::Ending { .. } => None,
        };
        Held { id: self.id.clone(), pid: self.pid, started_at: self.started_at, user: self.user.clone(), exit }
    }

    /// Sends a signal to its main process.
    pub(super) fn signal(&self, signal: Signal) -> Result<(), Failure> {
        if !self.is_running() {
            return Err(Failure::NotRunning);
        }
        if signal.number() == libc::SIGKILL {
            self.killed_on_request.set(true);
        }
        match pidfd::send_signal(&self.pidfd, signal.number()) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Err(Failure::NotRunning),
            result => result.map_err(|error| Failure::system(format!("send {signal}"), &error)),
        }
    }

    /// Kills all that runs in it.
    pub(super) fn kill_all(&self) -> Result<(), Failure> {
        if !self.is_running() {
            return Err(Failure::NotRunning);
        }
        self.killed_on_request.set(true);
        self.cgroup.kill().map_err(|error| Failure::caused("kill processes", &error))
    }

    /// Takes note of kills for memory, if the event is about those of this container.
    pub(super) fn note_oom(&mut self, token: Token) -> bool {
        self.oom.as_mut().is_some_and(|oom| oom.handle(token))
    }

    /// Goes on in a new log file.
    pub(super) fn reopen_log(&mut self) -> Result<(), Failure> {
        if self.has_ended() { Err(Failure::NotRunning) } else { self.stdio.reopen_log() }
    }

    /// Takes note that the main process ended, with that exit code, and has been reaped.
    pub(super) fn main_ended(&mut self, code: i32, buffer: &mut [u8]) {
        let at = Timestamp::now();
        let oom = code == 128 + libc::SIGKILL && !self.killed_on_request.get() && self.was_killed_for_memory();
        // The kernel has killed a PID namespace of its own with its first process, but there may be none of its own.
        if let Err(error) = self.cgroup.kill() {
            note("kill what a container left behind", &error);
        }
        if let Err(error) = self.stdio.main_ended(buffer) {
            note("drain a container's output", &error);
        }
        let status = ExitStatus::ended(code, oom, at);
        self.state = State::Ending { status, report_by: Instant::now() + PATIENCE };
    }

    /// Whether the kernel killed for memory in it. The count began with the container's cgroup, so any kill was in this
    /// run, and goes away with the cgroup.
    fn was_killed_for_memory(&mut self) -> bool {
        self.cgroup.oom_kills().is_ok_and(|kills| kills > 0) || self.oom.take().is_some_and(OomWatch::verdict)
    }

    /// When [`Container::tick`] has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let report = match self.state {
            State::Ending { report_by, .. } => Some(report_by),
            State::Running | State::Ended { .. } => None,
        };
        [report, self.stdio.deadline()].into_iter().flatten().min()
    }

    /// Does what has become due.
    pub(super) fn tick(&mut self, now: Instant, buffer: &mut [u8]) {
        if let Err(error) = self.stdio.tick(now, buffer) {
            note("tend a container's output", &error);
        }
    }

    /// Closes the container's books if it is time: its end is recorded and returned, once.
    pub(super) fn settle(&mut self, now: Instant, pod_dir: &Path) -> Option<ExitStatus> {
        let State::Ending { status, report_by } = &self.state else { return None };
        if !self.stdio.is_drained() && now < *report_by {
            return None;
        }
        let status = status.clone();
        clear(&self.cgroup);
        if let Err(error) = record::write(&record::path(pod_dir, &self.id), &status) {
            note("write an exit record", &error);
        }
        self.state = State::Ended { status: status.clone() };
        Some(status)
    }
}

/// Kills all processes in a cgroup and removes it.
fn clear(cgroup: &Cgroup) {
    if let Err(error) = cgroup.kill().and_then(|()| cgroup.remove()) {
        note("remove a container's cgroup", &error);
    }
}
