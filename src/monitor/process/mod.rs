//! The spawner's and the monitors' half.
//!
//! A monitor is one thread around one epoll instance. All that waits is state with a deadline; nothing
//! blocks but launches, which have deadlines of their own, and kills, which are bounded. It allocates little and keeps
//! no buffer for an idle container, because there is a monitor for every pod.

mod attach;
mod birth;
mod connection;
mod container;
mod exec;
mod log;
mod oom;
mod poll;
mod pty;
mod reap;
mod request;
pub mod spawner;
mod stdio;
#[cfg(test)]
mod tests;
mod waiting;

use std::{
    io::{self, Write},
    os::fd::OwnedFd,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use self::{
    birth::Spare,
    connection::Connection,
    container::Container,
    exec::Exec,
    poll::{EventFlags, Poller, Token, Watched},
    waiting::Waiting,
};
use super::wire::{Failure, Frame, Notice, Reply, socket};
use crate::{
    runtime::{
        cgroup::{Cgroup, Hierarchy},
        launch::{self, PodInit},
    },
    sys::{heap, pidfd},
    types::{ExitStatus, Timestamp},
};

/// Bytes that are read of an output at once.
const BUFFER: usize = 32 * 1024;
/// Requests of one connection before others get their turn.
const REQUESTS_AT_ONCE: usize = 16;
/// Pause before connections are accepted again after that failed, for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// How long a shutdown waits for processes to die.
const SHUTDOWN: Duration = Duration::from_secs(10);

/// A pod's monitor.
#[derive(Debug)]
struct Monitor {
    pod_dir: PathBuf,
    pod: PodInit,
    init_cgroup: Option<Cgroup>,
    cgroups: Hierarchy,
    poller: Poller,
    listener: Watched,
    accept_again: Option<Instant>,
    ends_of_children: Watched,
    connections: Vec<Connection>,
    containers: Vec<Container>,
    execs: Vec<Exec>,
    /// Execs whose main process has ended, for as long as they have others.
    left_behind: Vec<Exec>,
    waiting: Waiting,
    shutdown: Option<Shutdown>,
    buffer: Buffer,
}

/// A shutdown under way.
#[derive(Debug)]
struct Shutdown {
    /// Whom to answer: connections and their requests.
    askers: Vec<(Token, u32)>,
    /// When they are answered at the latest; `None` when that is done, and only the last process's end is waited for.
    until: Option<Instant>,
}

/// What all reads go through. It does not exist before the first of them.
#[derive(Debug, Default)]
struct Buffer(Vec<u8>);

impl Buffer {
    fn get(&mut self) -> &mut [u8] {
        if self.0.is_empty() {
            self.0 = vec![0; BUFFER];
        }
        &mut self.0
    }
}

impl Monitor {
    /// Turns a spare into a monitor, and runs it to its end.
    fn run(spare: Spare, request: Frame, cgroups: Hierarchy) -> ExitCode {
        let Some(mut monitor) = birth::monitor(spare, request, cgroups) else { return ExitCode::FAILURE };
        heap::trim();
        match monitor.watch() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                note("wait for events", &error);
                ExitCode::FAILURE
            }
        }
    }

    /// Handles events until the pod is shut down.
    fn watch(&mut self) -> io::Result<()> {
        loop {
            for (token, flags) in self.poller.wait(self.deadline())? {
                self.handle(token, flags);
            }
            self.tick();
            if self.shutdown_done() {
                return Ok(());
            }
        }
    }

    fn handle(&mut self, token: Token, flags: EventFlags) {
        if token == self.ends_of_children.token() {
            self.reap();
        } else if token == self.listener.token() {
            self.accept();
        } else if self.connections.iter().any(|connection| connection.token() == token) {
            self.serve(token, flags);
        } else if !self.containers.iter_mut().any(|container| container.note_oom(token))
            && !self.waiting.handle(token, flags, Instant::now())
        {
            for container in &mut self.containers {
                match container.stdio.handle(token, flags, self.buffer.get()) {
                    Ok(true) => break,
                    Ok(false) => {}
                    Err(error) => note("watch a container's output", &error),
                }
            }
        }
    }

    /// When there is something to do although nothing happens.
    fn deadline(&self) -> Option<Instant> {
        let containers = self.containers.iter().filter_map(Container::deadline).min();
        let shutdown = self.shutdown.as_ref().and_then(|shutdown| shutdown.until);
        [containers, shutdown, self.accept_again].into_iter().flatten().min()
    }

    /// Does what has become due, and reports containers whose end is complete.
    fn tick(&mut self) {
        let now = Instant::now();
        let mut ended = Vec::new();
        for container in &mut self.containers {
            if container.deadline().is_some_and(|deadline| deadline <= now) {
                container.tick(now, self.buffer.get());
            }
            if let Some(status) = container.settle(now, &self.pod_dir) {
                ended.push(Notice::Exited { container: container.id().clone(), status });
            }
        }
        ended.iter().for_each(|notice| self.notify(notice));
        if self.accept_again.is_some_and(|at| at <= now) {
            self.accept_again = None;
            self.accept();
        }
    }

    /// Reaps all children that have ended, ours and the orphans that became ours.
    fn reap(&mut self) {
        reap::acknowledge(&self.ends_of_children);
        while let Some((pid, code)) = reap::next() {
            let alive = |container: &&mut Container| container.is_running() && container.pid() == pid;
            if let Some(container) = self.containers.iter_mut().find(alive) {
                container.main_ended(code, self.buffer.get());
            } else if let Some(index) = self.execs.iter().position(|exec| exec.pid() == pid) {
                let (notice, left) = self.execs.swap_remove(index).ended(code);
                self.left_behind.retain(Exec::has_processes);
                self.left_behind.extend(left);
                self.notify(&notice);
            } else if self.pod.init.as_ref().is_some_and(|init| init.pid == pid) {
                self.pod.init = None;
                self.notify(&Notice::InitExited { status: ExitStatus::ended(code, false, Timestamp::now()) });
            }
        }
    }

    fn accept(&mut self) {
        match socket::accept(&self.listener) {
            Ok(socket) => self.adopt(socket),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                note("accept a connection", &error);
                self.accept_again = Some(Instant::now() + ACCEPT_PAUSE);
            }
        }
        let interest = self.accept_again.is_none().then_some(EventFlags::IN);
        if let Err(error) = self.listener.set_interest(interest) {
            note("watch for connections", &error);
        }
    }

    fn adopt(&mut self, socket: OwnedFd) {
        match Connection::new(socket, &mut self.poller) {
            Ok(connection) => self.connections.push(connection),
            Err(error) => note("watch a connection", &error),
        }
    }

    /// Handles what has come on a connection.
    fn serve(&mut self, token: Token, flags: EventFlags) {
        if flags.contains(EventFlags::OUT) {
            self.with_connection(token, Connection::flush);
        }
        for _ in 0..REQUESTS_AT_ONCE {
            let Some(connection) = self.connections.iter().find(|connection| connection.token() == token) else {
                return;
            };
            match connection.receive() {
                Ok(Some(frame)) => self.request(token, frame),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Ok(None) | Err(_) => return self.disconnect(token),
            }
        }
    }

    /// Does something with a connection; if that fails, it is closed.
    fn with_connection(&mut self, token: Token, act: impl FnOnce(&mut Connection) -> io::Result<()>) {
        let connection = self.connections.iter_mut().find(|connection| connection.token() == token);
        if connection.is_some_and(|connection| act(connection).is_err()) {
            self.disconnect(token);
        }
    }

    /// Closes a connection and ends the execs that nobody waits for any more.
    fn disconnect(&mut self, token: Token) {
        self.connections.retain(|connection| connection.token() != token);
        for exec in self.execs.iter().filter(|exec| exec.belongs_to(token)) {
            if let Err(failure) = exec.kill() {
                note("kill an exec whose daemon is gone", &failure);
            }
        }
    }

    /// Tells all daemons.
    fn notify(&mut self, notice: &Notice) {
        let tokens: Vec<Token> = self.connections.iter().map(Connection::token).collect();
        for token in tokens {
            self.with_connection(token, |connection| connection.notify(notice));
        }
    }

    /// Begins to end the pod; the answer comes when it is done.
    fn shut_down(&mut self, token: Token, sequence: u32) {
        for container in self.containers.iter().filter(|container| container.is_running()) {
            if let Err(failure) = container.kill_all() {
                note("kill a container", &failure);
            }
        }
        if let Some(init) = &self.pod.init
            && let Err(error) = pidfd::send_signal(&init.pidfd, libc::SIGKILL)
        {
            note("kill the pod's init", &error);
        }
        let shutdown = self.shutdown.get_or_insert(Shutdown { askers: Vec::new(), until: None });
        shutdown.until.get_or_insert_with(|| Instant::now() + SHUTDOWN);
        shutdown.askers.push((token, sequence));
    }

    /// Finishes a shutdown when all has ended. If that takes too long it is said so, and the pod ends when it can.
    fn shutdown_done(&mut self) -> bool {
        let Some(Shutdown { askers, until }) = self.shutdown.take() else { return false };
        let ended =
            self.pod.init.is_none() && self.execs.is_empty() && self.containers.iter().all(Container::has_ended);
        if !ended && until.is_none_or(|until| Instant::now() < until) {
            self.shutdown = Some(Shutdown { askers, until });
            return false;
        }
        let result = if ended { self.take_down() } else { Err(Failure::Lingering) };
        let is_awaited = !askers.is_empty();
        for (token, sequence) in askers {
            let answer = result.clone().map(|()| (Reply::Done, vec![]));
            self.with_connection(token, |connection| connection.answer(sequence, answer));
        }
        match result {
            Err(Failure::Lingering) => {
                self.shutdown = Some(Shutdown { askers: Vec::new(), until: None });
                false
            }
            // What could not be taken down is tried again when somebody asks; without anybody it is the daemon's.
            Err(_) => !is_awaited,
            Ok(()) => true,
        }
    }

    /// Removes what the pod has on the host.
    fn take_down(&self) -> Result<(), Failure> {
        launch::unpin(&self.pod_dir)?;
        if let Some(cgroup) = &self.init_cgroup {
            cgroup.remove().map_err(|error| Failure::caused("remove the init's cgroup", &error))?;
        }
        socket::unlink(&self.pod_dir).map_err(|error| Failure::system("remove the monitor's socket", &error))
    }
}

/// Leaves a line in the monitor's own log, for what nobody can be told.
fn note(operation: &str, error: &dyn std::error::Error) {
    let line =
        format!("{} berth[{}]: {operation}: {}\n", Timestamp::now(), std::process::id(), crate::error::chain(error));
    let _ = io::stderr().write_all(line.as_bytes());
}
