//! ExecSync: a command in a running container, its output collected, its time bounded.

use std::{
    io,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{io::AsyncReadExt as _, net::unix::pipe, time::timeout};

use super::{Engine, Error, ExecOutput, container::Container};
use crate::{
    fault,
    monitor::client::{self as monitor, Exec, ExecStdio},
    runtime::plan,
};

/// Of both streams together so much is returned; the rest is read and dropped, so that the command never blocks on it.
/// kubelet takes no answer over 16 MiB, and the answer is a little more than the output.
const LIMIT: usize = (16 << 20) - (4 << 10);
/// How long after the command's end its output is waited for when something it left behind keeps the pipe open.
const DRAIN: Duration = Duration::from_secs(1);
/// And how long when that goes on to write.
const LONGEST_DRAIN: Duration = Duration::from_secs(10);
/// Bytes read at once.
const CHUNK: usize = 16 << 10;

impl Engine {
    /// Runs a command in a running container and returns its output and exit code. When `limit` passes, or the caller
    /// goes away, the command and all that it started are killed.
    ///
    /// # Errors
    /// `DeadlineExceeded` when `limit` passes; `FailedPrecondition` when the container does not run; the executor's
    /// error when the command cannot be executed. A command that fails is not an error.
    pub async fn exec_sync(
        self: &Arc<Self>,
        id: &str,
        command: Vec<String>,
        limit: Option<Duration>,
    ) -> Result<ExecOutput, Error> {
        let container = self.find_container(id)?;
        let (stdout, stdout_end) = output_pipe()?;
        let (stderr, stderr_end) = output_pipe()?;
        let stdio = ExecStdio::Pipes { stdin: null()?, stdout: stdout_end, stderr: stderr_end };
        let mut exec = self.start_exec(&container, &command, stdio).await?;
        let collected = collect(&mut exec, stdout, stderr);
        let Some(limit) = limit else {
            return collected.await.map_err(|source| lost(&container, source));
        };
        match timeout(limit, collected).await {
            Ok(output) => output.map_err(|source| lost(&container, source)),
            Err(_) => {
                // The answer must not come before the command is gone.
                if exec.kill().await.is_ok() {
                    let _ = exec.wait().await;
                }
                Err(Error::ExecTimeout {
                    container: container.id.clone(),
                    command: command.join(" "),
                    seconds: limit.as_secs(),
                })
            }
        }
    }

    /// Starts a command in a running container, confined as the container is.
    pub(super) async fn start_exec(
        &self,
        container: &Container,
        command: &[String],
        stdio: ExecStdio,
    ) -> Result<Exec, Error> {
        container.require_running()?;
        let tty = matches!(stdio, ExecStdio::Terminal);
        let plan = plan::exec(&self.plan(container)?, command, tty);
        fault::point("exec.planned");
        let started = container.pod.monitor()?.exec(&container.id, &plan, stdio).await;
        fault::point("exec.started");
        started.map_err(|source| Error::monitor("execute a command in", format!("container {}", container.id), source))
    }
}

fn lost(container: &Container, source: monitor::Error) -> Error {
    Error::monitor("follow a command in", format!("container {}", container.id), source)
}

/// Reads both streams until they end, or until the command has ended and nothing has come for a while: of what it started
/// and left behind nobody may wait for ever.
async fn collect(
    exec: &mut Exec,
    stdout: pipe::Receiver,
    stderr: pipe::Receiver,
) -> Result<ExecOutput, monitor::Error> {
    let (out, err) = (Capture::default(), Capture::default());
    let status = {
        let reading = async { tokio::join!(out.read(stdout), err.read(stderr)) };
        tokio::pin!(reading);
        tokio::select! {
            _ = &mut reading => exec.wait().await?,
            status = exec.wait() => {
                let status = status?;
                let rest = async {
                    while timeout(DRAIN, &mut reading).await.is_err() && (out.progressed() | err.progressed()) {}
                };
                let _ = timeout(LONGEST_DRAIN, rest).await;
                status
            }
        }
    };
    let (mut stdout, mut stderr) = (out.take(), err.take());
    stderr.truncate(LIMIT - stdout.len().min(LIMIT / 2));
    stdout.truncate(LIMIT - stderr.len());
    Ok(ExecOutput { stdout, stderr, code: status.code })
}

/// What has been read of one stream.
#[derive(Default)]
struct Capture(Mutex<Captured>);

#[derive(Default)]
struct Captured {
    kept: Vec<u8>,
    read: u64,
    seen: u64,
}

impl Capture {
    async fn read(&self, mut source: pipe::Receiver) {
        let mut chunk = vec![0; CHUNK];
        // An error ends the stream as an end of file does: there is nobody to tell.
        while let Ok(length @ 1..) = source.read(&mut chunk).await {
            let mut captured = self.lock();
            let room = LIMIT.saturating_sub(captured.kept.len()).min(length);
            captured.kept.extend_from_slice(&chunk[..room]);
            captured.read += length as u64;
        }
    }

    /// Whether anything has been read since this was last asked.
    fn progressed(&self) -> bool {
        let mut captured = self.lock();
        let read = captured.read;
        std::mem::replace(&mut captured.seen, read) != read
    }

    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.lock().kept)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Captured> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A pipe whose reading end is ours and whose writing end is the command's.
pub(super) fn output_pipe() -> Result<(pipe::Receiver, OwnedFd), Error> {
    let failed = |source: io::Error| Error::Pipe { operation: "make", source: Arc::new(source) };
    let (read, write) = io::pipe().map_err(failed)?;
    Ok((pipe::Receiver::from_owned_fd(read.into()).map_err(failed)?, write.into()))
}

/// A pipe whose writing end is ours and whose reading end is the command's.
pub(super) fn input_pipe() -> Result<(pipe::Sender, OwnedFd), Error> {
    let failed = |source: io::Error| Error::Pipe { operation: "make", source: Arc::new(source) };
    let (read, write) = io::pipe().map_err(failed)?;
    Ok((pipe::Sender::from_owned_fd(write.into()).map_err(failed)?, read.into()))
}

pub(super) fn null() -> Result<OwnedFd, Error> {
    let file = std::fs::File::open("/dev/null").map_err(|source| Error::file("open", "/dev/null", source))?;
    Ok(file.into())
}
