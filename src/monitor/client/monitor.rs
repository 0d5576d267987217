//! A pod's monitor, seen from the daemon.

use std::{
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::mpsc, time::timeout};

use super::{
    Attached, ContainerIo, Error, Event, Exec, ExecStdio, Snapshot, Started, Streams,
    exec::Exit,
    link::{Link, answer},
};
use crate::{
    monitor::{
        record,
        wire::{Failure, HOOKS, Hello, Reply, Request, Versions, socket},
    },
    runtime::{
        checkpoint::Restore,
        plan::{ContainerPlan, ExecPlan},
    },
    types::{ExitStatus, Id, Signal},
};

/// How long a monitor may take to introduce itself. One that launches a process does so first.
const HELLO_PATIENCE: Duration = Duration::from_secs(5);

/// A connection to a pod's monitor. It does not matter to the pod when it is dropped, but to its execs (see [`Exec`]).
#[derive(Debug)]
pub struct Monitor {
    link: Link,
    protocol: u32,
    pid: i32,
    init: Option<i32>,
}

impl Monitor {
    /// Connects to the monitor of the pod whose directory is `dir`.
    ///
    /// # Errors
    /// One that [`Error::says_that_nobody_lives`] when that is so; any other means that there is a monitor, which does not
    /// answer soon, or nothing that can be understood.
    pub async fn connect(dir: &Path) -> Result<(Arc<Self>, Snapshot), Error> {
        let met = timeout(HELLO_PATIENCE, Self::connect_patiently(dir)).await;
        met.unwrap_or_else(|_| Err(Error::Silent { dir: dir.to_owned() }))
    }

    /// The same with all the time in the world.
    pub async fn connect_patiently(dir: &Path) -> Result<(Arc<Self>, Snapshot), Error> {
        const OPERATION: &str = "hello";
        let link = socket::connect(dir)
            .and_then(Link::new)
            .map_err(|source| Error::Connect { dir: dir.to_owned(), source })?;
        let versions = Versions::spoken();
        let hello = Request::Hello { protocol: versions.newest() };
        let (reply, _) = link.call(OPERATION, &hello, vec![]).await?;
        let Reply::Hello(hello) = reply else { return Err(Error::Answer { operation: OPERATION }) };
        if !versions.has(hello.protocol) {
            return Err(Error::Version { dir: dir.to_owned(), version: hello.protocol });
        }
        let (monitor, snapshot) = Self::met(link, hello);
        Ok((Arc::new(monitor), snapshot))
    }

    /// Waits until a monitor that was just forked says that its pod is there.
    pub(super) async fn ready(link: Link, waiting: super::link::Waiting) -> Result<Arc<Self>, Error> {
        const OPERATION: &str = "start pod";
        let (Reply::Hello(hello), _) = answer(OPERATION, waiting).await? else {
            return Err(Error::Answer { operation: OPERATION });
        };
        Ok(Arc::new(Self::met(link, hello).0))
    }

    fn met(link: Link, hello: Hello) -> (Self, Snapshot) {
        let snapshot = Snapshot { init: hello.init, containers: hello.containers };
        (Self { link, protocol: hello.protocol, pid: hello.pid, init: hello.init }, snapshot)
    }

    /// The monitor's process.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// The init of the pod's shared PID namespace, as it was at the time of the connection.
    pub fn init(&self) -> Option<i32> {
        self.init
    }

    /// Events. The first caller gets all since the connection was made, later ones all from their call on. Their number
    /// is bounded by the containers that are started.
    pub fn events(&self) -> mpsc::UnboundedReceiver<Event> {
        self.link.events()
    }

    /// Launches a container; its program runs when this returns.
    pub async fn start(&self, plan: &ContainerPlan, io: ContainerIo) -> Result<Started, Error> {
        const OPERATION: &str = "start container";
        if plan.hooks.is_some() && self.protocol < HOOKS {
            return Err(Error::Refused { operation: OPERATION, failure: Failure::Unsupported });
        }
        let request = Request::Start { plan: Box::new(std::borrow::Cow::Borrowed(plan)), io };
        match self.link.call(OPERATION, &request, vec![]).await? {
            (Reply::Started(started), _) => Ok(started),
            _ => Err(Error::Answer { operation: OPERATION }),
        }
    }

    /// Launches a container from a checkpoint; its processes run when this returns.
    pub async fn restore(&self, plan: &ContainerPlan, io: ContainerIo, from: Restore) -> Result<Started, Error> {
        const OPERATION: &str = "restore container";
        let request = Request::Restore { plan: Box::new(std::borrow::Cow::Borrowed(plan)), io, from };
        match self.link.call(OPERATION, &request, vec![]).await? {
            (Reply::Started(started), _) => Ok(started),
            _ => Err(Error::Answer { operation: OPERATION }),
        }
    }

    /// Launches one more process in a container, as [`Exec`] says.
    pub async fn exec(&self, container: &Id, plan: &ExecPlan, stdio: ExecStdio) -> Result<Exec, Error> {
        self.launch_exec(container, plan, stdio, false).await
    }

    /// Launches a process that nobody will wait for: it goes on when this connection ends.
    pub async fn exec_detached(&self, container: &Id, plan: &ExecPlan, stdio: ExecStdio) -> Result<Exec, Error> {
        self.launch_exec(container, plan, stdio, true).await
    }

    async fn launch_exec(
        &self,
        container: &Id,
        plan: &ExecPlan,
        stdio: ExecStdio,
        detached: bool,
    ) -> Result<Exec, Error> {
        const OPERATION: &str = "exec";
        let exec = random_id().map_err(|source| Error::Send { operation: OPERATION, source })?;
        let descriptors = match stdio {
            ExecStdio::Pipes { stdin, stdout, stderr } => vec![stdin, stdout, stderr],
            ExecStdio::Terminal => vec![],
        };
        let plan = Box::new(std::borrow::Cow::Borrowed(plan));
        let request = Request::Exec { exec: exec.clone(), container: container.clone(), plan, detached };
        let exit = Exit::Awaited(self.link.expect_exec(&exec));
        // A caller that goes away while the process starts must not leave it behind: the guard's drop kills it.
        let mut guard = Exec { link: self.link.clone(), id: exec, pid: 0, detached, exit, console: None };
        match self.link.call(OPERATION, &request, descriptors).await {
            Ok((Reply::Executed { pid }, mut descriptors)) => {
                guard.pid = pid;
                guard.console = descriptors.pop();
                Ok(guard)
            }
            Ok(_) => Err(Error::Answer { operation: OPERATION }),
            Err(error) => {
                self.link.forget_exec(&guard.id);
                guard.detached = true;
                Err(error)
            }
        }
    }

    /// Sends a signal to a container's main process.
    pub async fn kill(&self, container: &Id, signal: Signal) -> Result<(), Error> {
        self.ask("kill container", &Request::Kill { container: container.clone(), signal }).await
    }

    /// Kills all processes of a container.
    pub async fn kill_all(&self, container: &Id) -> Result<(), Error> {
        self.ask("kill container's processes", &Request::KillAll { container: container.clone() }).await
    }

    /// Goes on in a new log file at the same path; it exists when this returns. On an error the old one is kept.
    pub async fn reopen_log(&self, container: &Id) -> Result<(), Error> {
        self.ask("reopen container's log", &Request::ReopenLog { container: container.clone() }).await
    }

    /// Attaches to a running container.
    pub async fn attach(&self, container: &Id, streams: Streams) -> Result<Attached, Error> {
        const OPERATION: &str = "attach to container";
        let request = Request::Attach { container: container.clone(), streams };
        let (Reply::Attached { streams }, descriptors) = self.link.call(OPERATION, &request, vec![]).await? else {
            return Err(Error::Answer { operation: OPERATION });
        };
        let mut descriptors = descriptors.into_iter();
        let mut next = |granted: bool| -> Result<Option<OwnedFd>, Error> {
            if !granted {
                return Ok(None);
            }
            descriptors.next().map(Some).ok_or(Error::Answer { operation: OPERATION })
        };
        Ok(Attached { stdin: next(streams.stdin)?, stdout: next(streams.stdout)?, stderr: next(streams.stderr)? })
    }

    /// Sets the terminal size of a container or an exec.
    pub async fn resize(&self, target: &Id, columns: u16, rows: u16) -> Result<(), Error> {
        self.ask("resize terminal", &Request::Resize { target: target.clone(), columns, rows }).await
    }

    /// Lets the monitor drop the record of a container that has ended. Fine when it has none.
    pub async fn forget(&self, container: &Id) -> Result<(), Error> {
        self.ask("forget container", &Request::Forget { container: container.clone() }).await
    }

    /// Kills what is left in the pod, takes its namespaces down and ends the monitor.
    pub async fn shutdown(&self) -> Result<(), Error> {
        self.ask("shut pod down", &Request::Shutdown).await
    }

    async fn ask(&self, operation: &'static str, request: &Request<'_>) -> Result<(), Error> {
        match self.link.call(operation, request, vec![]).await? {
            (Reply::Done, _) => Ok(()),
            _ => Err(Error::Answer { operation }),
        }
    }
}

/// Reads the exit record that a monitor, perhaps a dead one, left in the pod's directory `dir`.
pub fn exit_record(dir: &Path, container: &Id) -> Result<Option<ExitStatus>, Error> {
    let path: PathBuf = record::path(dir, container);
    record::read(&path).map_err(|source| Error::Record { operation: "read", path, source })
}

/// Writes an exit record in the pod's directory `dir`, of an end that no monitor sees.
pub fn record_exit(dir: &Path, container: &Id, status: &ExitStatus) -> Result<(), Error> {
    let path = record::path(dir, container);
    record::write(&path, status).map_err(|source| Error::Record { operation: "write", path, source })
}

fn random_id() -> io::Result<Id> {
    let mut bytes = [0; 32];
    let mut filled = 0;
    while filled < bytes.len() {
        filled += rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())?;
    }
    Ok(Id::from_bytes(bytes))
}
