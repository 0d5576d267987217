//! What daemons ask for, and its answers.

use std::os::fd::OwnedFd;

use super::{Monitor, connection::Answer, container::Container, exec::Exec, note, poll::Token};
use crate::{
    monitor::{
        record,
        wire::{ContainerIo, Failure, Frame, Hello, Kind, Reply, Request, Streams, Versions},
    },
    runtime::{
        checkpoint::Restore,
        launch::Stdio,
        plan::{ContainerPlan, ExecPlan},
    },
    sys::heap,
    types::Id,
};

impl Monitor {
    /// Carries a request out and answers it.
    pub(super) fn request(&mut self, token: Token, frame: Frame) {
        let (sequence, large) = (frame.sequence, frame.is_large());
        let answer = match (frame.kind, frame.message()) {
            (Kind::Request, Ok(Request::Shutdown)) => return self.shut_down(token, sequence),
            (Kind::Request, Ok(request)) => self.carry_out(token, request, frame.descriptors),
            _ => Err(Failure::Unsupported),
        };
        self.with_connection(token, |connection| connection.answer(sequence, answer));
        if large {
            heap::trim();
        }
    }

    fn carry_out(&mut self, token: Token, request: Request<'_>, descriptors: Vec<OwnedFd>) -> Answer {
        let done = |()| (Reply::Done, vec![]);
        match request {
            Request::Hello { protocol } => {
                self.with_connection(token, |connection| {
                    connection.greeted = true;
                    Ok(())
                });
                Ok((self.hello(protocol), vec![]))
            }
            Request::Start { plan, io } => self.start(&plan, &io, None),
            Request::Restore { plan, io, from } => self.start(&plan, &io, Some(&from)),
            Request::Exec { exec, container, plan, detached } => {
                self.exec(exec, &container, &plan, descriptors, (!detached).then_some(token))
            }
            Request::KillExec { exec } => self.kill_exec(&exec).map(done),
            Request::Kill { container, signal } => self.container(&container)?.signal(signal).map(done),
            Request::KillAll { container } => self.container(&container)?.kill_all().map(done),
            Request::ReopenLog { container } => self.container(&container)?.reopen_log().map(done),
            Request::Attach { container, streams } => self.attach(&container, streams),
            Request::Resize { target, columns, rows } => self.resize(&target, columns, rows).map(done),
            Request::Forget { container } => self.forget(&container).map(done),
            Request::Pod { .. } | Request::Shutdown => Err(Failure::Unsupported),
        }
    }

    /// Introduces the monitor to a daemon that speaks `protocol` and perhaps older ones.
    pub(super) fn hello(&self, protocol: u32) -> Reply {
        Reply::Hello(Hello {
            protocol: Versions::spoken().choose(protocol),
            pid: std::process::id().cast_signed(),
            init: self.pod.init.as_ref().map(|init| init.pid),
            containers: self.containers.iter().map(Container::held).collect(),
        })
    }

    fn start(&mut self, plan: &ContainerPlan, io: &ContainerIo, from: Option<&Restore>) -> Answer {
        if self.shutdown.is_some() {
            return Err(Failure::ShuttingDown);
        }
        if self.containers.iter().any(|container| *container.id() == plan.id) {
            return Err(Failure::AlreadyStarted);
        }
        let clients = self.waiting.take(&plan.id);
        let mut container = Container::launch(plan, io, from, &self.pod, &self.cgroups, &mut self.poller)?;
        for client in clients {
            if let Err(error) = container.stdio.adopt(client) {
                note("attach a client that waited", &error);
            }
        }
        let started = container.started();
        self.containers.push(container);
        Ok((Reply::Started(started), vec![]))
    }

    fn exec(
        &mut self,
        id: Id,
        container: &Id,
        plan: &ExecPlan,
        descriptors: Vec<OwnedFd>,
        owner: Option<Token>,
    ) -> Answer {
        let stdio = match (plan.process.terminal, <[OwnedFd; 3]>::try_from(descriptors)) {
            (true, _) => Stdio::Terminal,
            (false, Ok([stdin, stdout, stderr])) => Stdio::Pipes { stdin, stdout, stderr },
            (false, Err(_)) => return Err(Failure::Unsupported),
        };
        if self.shutdown.is_some() {
            return Err(Failure::ShuttingDown);
        }
        let container = self.container(container)?;
        if !container.is_running() {
            return Err(Failure::NotRunning);
        }
        let (exec, answer) = Exec::launch(id, container, plan, stdio, owner)?;
        self.execs.push(exec);
        answer
    }

    fn attach(&mut self, container: &Id, streams: Streams) -> Answer {
        let Some(index) = self.containers.iter().position(|held| held.id() == container) else {
            let descriptors = self.waiting.add(container, streams, &mut self.poller)?;
            return Ok((Reply::Attached { streams }, descriptors));
        };
        let container = &mut self.containers[index];
        if !container.is_running() {
            return Err(Failure::NotRunning);
        }
        let attached = container.stdio.attach(streams, &mut self.poller);
        let (streams, descriptors) = attached.map_err(|error| Failure::system("attach", &error))?;
        Ok((Reply::Attached { streams }, descriptors))
    }

    fn resize(&self, target: &Id, columns: u16, rows: u16) -> Result<(), Failure> {
        match self.containers.iter().find(|container| container.id() == target) {
            Some(container) if container.is_running() => container.stdio.resize(columns, rows),
            Some(_) => Err(Failure::NotRunning),
            None => self.held_exec(target)?.resize(columns, rows),
        }
    }

    /// Drops a container that has ended or was never started, with its record.
    fn forget(&mut self, id: &Id) -> Result<(), Failure> {
        self.waiting.take(id);
        if let Some(index) = self.containers.iter().position(|container| container.id() == id) {
            if !self.containers[index].has_ended() {
                return Err(Failure::Running);
            }
            self.containers.swap_remove(index);
        }
        record::remove(&record::path(&self.pod_dir, id))
            .map_err(|error| Failure::system("remove the exit record", &error))
    }

    fn container(&mut self, id: &Id) -> Result<&mut Container, Failure> {
        self.containers.iter_mut().find(|container| container.id() == id).ok_or(Failure::NoContainer)
    }

    fn kill_exec(&mut self, id: &Id) -> Result<(), Failure> {
        match self.left_behind.iter().position(|exec| exec.id() == id) {
            Some(index) => self.left_behind.swap_remove(index).clear(),
            None => self.held_exec(id)?.kill()?,
        }
        Ok(())
    }

    fn held_exec(&self, id: &Id) -> Result<&Exec, Failure> {
        self.execs.iter().find(|exec| exec.id() == id).ok_or(Failure::NoExec)
    }
}
