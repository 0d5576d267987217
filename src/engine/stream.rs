//! Sessions for the streaming server: exec, attach and connections to pods' ports.

use std::{io, os::fd::OwnedFd, sync::Arc};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use tokio::{
    net::{TcpStream, unix::pipe},
    sync::mpsc,
};

use super::{
    Engine, Error,
    container::Container,
    exec::{input_pipe, null, output_pipe},
};
use crate::{
    error::chain,
    fault,
    monitor::client::{self as monitor, Exec, ExecStdio, Monitor},
    network::Network,
    streaming::{Backend, BoxFuture, Session, Size, Streams},
    types::Id,
};

/// How many terminal sizes may wait to be set.
const SIZES: usize = 8;

/// The engine as the streaming server sees it.
#[derive(Debug)]
pub struct StreamBackend(Arc<Engine>);

impl StreamBackend {
    /// Lets streaming clients into the containers of an engine.
    pub fn new(engine: Arc<Engine>) -> Self {
        Self(engine)
    }
}

impl Backend for StreamBackend {
    fn exec(
        &self,
        container: String,
        command: Vec<String>,
        streams: Streams,
    ) -> BoxFuture<'_, Result<Session, String>> {
        Box::pin(async move { self.0.exec_session(&container, &command, streams).await.map_err(|error| chain(&error)) })
    }

    fn attach(&self, container: String, streams: Streams) -> BoxFuture<'_, Result<Session, String>> {
        Box::pin(async move { self.0.attach_session(&container, streams).await.map_err(|error| chain(&error)) })
    }

    fn dial(&self, pod: String, port: u16) -> BoxFuture<'_, Result<TcpStream, String>> {
        Box::pin(async move { self.0.dial(&pod, port).await.map_err(|error| chain(&error)) })
    }
}

impl Engine {
    /// Says whether a command could be run in a container now; for doors that answer before the client comes.
    ///
    /// # Errors
    /// `NotFound`, or `FailedPrecondition` when it does not run.
    pub fn check_running(&self, id: &str) -> Result<Id, Error> {
        let container = self.find_container(id)?;
        container.require_running()?;
        Ok(container.id.clone())
    }

    /// Says whether a client could attach to a container now. One that is not started yet will be heard from its first
    /// byte on.
    ///
    /// # Errors
    /// `NotFound`, or `FailedPrecondition` when it has exited.
    pub fn check_attachable(&self, id: &str) -> Result<Id, Error> {
        let container = self.find_container(id)?;
        container.require_not_over()?;
        Ok(container.id.clone())
    }

    /// Says whether a pod can be connected to now.
    ///
    /// # Errors
    /// `NotFound`, or `FailedPrecondition` when it is not ready.
    pub fn check_ready(&self, id: &str) -> Result<Id, Error> {
        let pod = self.find_pod(id)?;
        pod.monitor()?;
        Ok(pod.id.clone())
    }

    async fn exec_session(&self, id: &str, command: &[String], streams: Streams) -> Result<Session, Error> {
        let container = self.find_container(id)?;
        let monitor = container.pod.monitor()?;
        if streams.tty {
            let mut exec = self.start_exec(&container, command, ExecStdio::Terminal).await?;
            let console = exec.console.take().ok_or_else(|| pipe_failed("pass", io::ErrorKind::NotFound.into()))?;
            return terminal_session(console, streams, exec, monitor);
        }
        let (stdin, stdin_end) = match streams.stdin {
            true => input_pipe().map(|(ours, theirs)| (Some(ours), theirs))?,
            false => (None, null()?),
        };
        let (stdout, stdout_end) = output_pipe()?;
        let (stderr, stderr_end) = output_pipe()?;
        let stdio = ExecStdio::Pipes { stdin: stdin_end, stdout: stdout_end, stderr: stderr_end };
        let exec = self.start_exec(&container, command, stdio).await?;
        Ok(Session {
            stdin: stdin.map(|stdin| Box::new(stdin) as _),
            stdout: Some(Box::new(stdout)),
            stderr: Some(Box::new(stderr)),
            resize: None,
            exit: Box::pin(exec_exit(exec)),
        })
    }

    async fn attach_session(&self, id: &str, streams: Streams) -> Result<Session, Error> {
        let container = self.find_container(id)?;
        container.require_not_over()?;
        let monitor = container.pod.monitor()?;
        let wanted = monitor::Streams { stdin: streams.stdin, stdout: streams.stdout, stderr: streams.stderr };
        let attached = monitor
            .attach(&container.id, wanted)
            .await
            .map_err(|source| Error::monitor("attach to", format!("container {}", container.id), source))?;
        fault::point("attach.attached");
        let (resize, sizes) = mpsc::channel(SIZES);
        Ok(Session {
            stdin: attached.stdin.map(writer).transpose()?.map(|stdin| Box::new(stdin) as _),
            stdout: attached.stdout.map(reader).transpose()?.map(|stdout| Box::new(stdout) as _),
            stderr: attached.stderr.map(reader).transpose()?.map(|stderr| Box::new(stderr) as _),
            resize: container.config.tty.then_some(resize),
            exit: Box::pin(attach_exit(container, monitor, sizes)),
        })
    }

    async fn dial(&self, id: &str, port: u16) -> Result<TcpStream, Error> {
        let pod = self.find_pod(id)?;
        pod.monitor()?;
        let netns = pod.has_own_network().then(|| pod.netns());
        Network::dial(netns.as_deref(), port).await.map_err(|source| Error::Network {
            operation: "connect to a port in the",
            pod: pod.id.clone(),
            source: Arc::new(source),
        })
    }
}

fn terminal_session(console: OwnedFd, streams: Streams, exec: Exec, monitor: Arc<Monitor>) -> Result<Session, Error> {
    let input = console.try_clone().map_err(|source| pipe_failed("copy", source))?;
    let (resize, sizes) = mpsc::channel(SIZES);
    Ok(Session {
        stdin: match streams.stdin {
            true => Some(Box::new(writer(input)?)),
            false => None,
        },
        stdout: Some(Box::new(reader(console)?)),
        stderr: None,
        resize: Some(resize),
        exit: Box::pin(terminal_exit(exec, monitor, sizes)),
    })
}

async fn exec_exit(mut exec: Exec) -> Result<i32, String> {
    exec.wait().await.map(|status| status.code).map_err(|error| chain(&error))
}

async fn terminal_exit(mut exec: Exec, monitor: Arc<Monitor>, mut sizes: mpsc::Receiver<Size>) -> Result<i32, String> {
    let id = exec.id().clone();
    loop {
        tokio::select! {
            status = exec.wait() => return status.map(|status| status.code).map_err(|error| chain(&error)),
            Some(size) = sizes.recv() => resize(&monitor, &id, size).await,
        }
    }
}

/// An attachment ends with its container; how that ended is told by its status, not here.
async fn attach_exit(
    container: Arc<Container>,
    monitor: Arc<Monitor>,
    mut sizes: mpsc::Receiver<Size>,
) -> Result<i32, String> {
    loop {
        tokio::select! {
            () = container.ended() => return Ok(0),
            Some(size) = sizes.recv() => resize(&monitor, &container.id, size).await,
        }
    }
}

async fn resize(monitor: &Monitor, target: &Id, size: Size) {
    if let Err(error) = monitor.resize(target, size.width, size.height).await {
        tracing::debug!(error = chain(&error), "a terminal could not be resized");
    }
}

fn reader(end: OwnedFd) -> Result<pipe::Receiver, Error> {
    nonblocking(&end)?;
    pipe::Receiver::from_owned_fd_unchecked(end).map_err(|source| pipe_failed("read", source))
}

fn writer(end: OwnedFd) -> Result<pipe::Sender, Error> {
    nonblocking(&end)?;
    pipe::Sender::from_owned_fd_unchecked(end).map_err(|source| pipe_failed("write", source))
}

fn nonblocking(end: &OwnedFd) -> Result<(), Error> {
    fcntl_getfl(end)
        .and_then(|flags| fcntl_setfl(end, flags | OFlags::NONBLOCK))
        .map_err(|errno| pipe_failed("set up", errno.into()))
}

fn pipe_failed(operation: &'static str, source: io::Error) -> Error {
    Error::Pipe { operation, source: Arc::new(source) }
}
