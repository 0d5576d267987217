//! The spawner, seen from the daemon: starting it from a sealed program and asking it for monitors.

use std::{
    borrow::Cow,
    io,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustix::{
    fs::{MemfdFlags, Mode, OFlags, SealFlags},
    mount::OpenTreeFlags,
};

use super::{Error, Monitor, link::Link};
use crate::{
    fault,
    monitor::wire::{Frame, Kind, Request, socket},
    runtime::plan::PodPlan,
    sys::{descriptors, mount_attr},
};

/// How long to wait before asking again a spawner whose socket is full of requests.
const FULL_SOCKET_PAUSE: Duration = Duration::from_millis(1);

/// Forks monitors: a single-threaded process of ours, because a daemon with threads cannot fork safely.
#[derive(Debug, Clone)]
pub struct Spawner {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    program: OwnedFd,
    process: Mutex<Process>,
}

/// The running spawner. It ends when its socket is closed.
#[derive(Debug)]
struct Process {
    socket: OwnedFd,
    child: Child,
}

impl Spawner {
    /// Starts the spawner from the running program.
    pub fn start() -> Result<Self, Error> {
        Self::start_program(Path::new("/proc/self/exe"))
    }

    /// Starts the spawner from `program`, a `berth` binary.
    ///
    /// It runs from a copy that nobody can write to: a container that gets hold of `/proc/<pid>/exe` of one of our
    /// processes must not overwrite the engine through it (CVE-2019-5736).
    pub fn start_program(program: &Path) -> Result<Self, Error> {
        let sealed = read_only_mount(program)
            .or_else(|error| {
                tracing::debug!(%error, "no read-only mount of the program can be had, running a copy in memory");
                sealed_copy(program)
            })
            .map_err(|source| Error::Seal { path: program.to_owned(), source })?;
        let process = Process::start(&sealed).map_err(Error::Spawner)?;
        Ok(Self { shared: Arc::new(Shared { program: sealed, process: Mutex::new(process) }) })
    }

    /// Forks a monitor, which makes the pod's namespaces as planned.
    ///
    /// # Errors
    /// [`Error::Refused`] with the launch's error when that failed; then nothing is left of the pod.
    pub async fn pod(&self, plan: &PodPlan) -> Result<Arc<Monitor>, Error> {
        let failed = |source| Error::Spawn { pod: plan.id.clone(), source };
        let (ours, theirs) = socket::pair().map_err(failed)?;
        let link = Link::new(ours).map_err(failed)?;
        let (sequence, waiting) = link.expect();
        let request = Request::Pod { plan: Cow::Borrowed(plan) };
        let frame = Frame::new(Kind::Request, sequence, &request, vec![theirs]).map_err(failed)?;
        self.send(frame).await.map_err(failed)?;
        Monitor::ready(link, waiting).await
    }

    /// Sends a frame to the spawner, to a new one if it has died.
    async fn send(&self, mut frame: Frame) -> io::Result<()> {
        let mut revived = false;
        loop {
            let (dead, sent) = {
                let process = self.process();
                (process.child.id(), frame.send(&process.socket))
            };
            match sent {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    tokio::time::sleep(FULL_SOCKET_PAUSE).await;
                }
                Err(error) if !revived && is_hang_up(&error) => {
                    revived = true;
                    self.replace(dead)?;
                }
                result => return result,
            }
        }
    }

    /// Starts another spawner, unless somebody has replaced the dead one already.
    fn replace(&self, dead: u32) -> io::Result<()> {
        let mut process = self.process();
        if process.child.id() == dead {
            tracing::warn!("the spawner died, starting another one");
            *process = Process::start(&self.shared.program)?;
        }
        Ok(())
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        self.shared.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Process {
    /// Executes the sealed program as `berth spawner`, with its end of the socket as standard input.
    fn start(program: &OwnedFd) -> io::Result<Self> {
        let (ours, theirs) = socket::pair()?;
        descriptors::mark_close_on_exec(3)?;
        let child = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()))
            .arg0("berth")
            .arg("spawner")
            .env_clear()
            .envs(fault::inherited())
            .current_dir("/")
            .stdin(theirs)
            .stdout(Stdio::null())
            .spawn()?;
        Ok(Self { socket: ours, child })
    }
}

impl Drop for Process {
    /// Reaps the spawner. Killing it is no harm: monitors do not need it any more.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn is_hang_up(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::NotConnected)
}

/// A read-only mount of the program's file that is in no mount tree, so nobody can make it writable again.
fn read_only_mount(program: &Path) -> io::Result<OwnedFd> {
    let file = rustix::fs::open(program, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let mount = rustix::mount::open_tree(&file, "", flags)?;
    mount_attr::set_read_only(mount.as_fd())?;
    Ok(mount)
}

/// A copy of the program in memory that cannot be changed.
fn sealed_copy(program: &Path) -> io::Result<OwnedFd> {
    let memfd = rustix::fs::memfd_create("berth", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut copy = std::fs::File::from(memfd);
    io::copy(&mut std::fs::File::open(program)?, &mut copy)?;
    rustix::fs::fcntl_add_seals(&copy, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    // A program that is open for writing cannot be executed.
    let path = format!("/proc/self/fd/{}", copy.as_raw_fd());
    Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// Runs a sealed busybox and tries to write to what it was run from.
    fn check(program: &OwnedFd, refusal: &[i32]) {
        let path = format!("/proc/self/fd/{}", program.as_raw_fd());
        let output = Command::new(&path).arg0("echo").arg("sealed").output().expect("run");
        assert_eq!(output.stdout, b"sealed\n");
        let opened = std::fs::File::options().append(true).open(&path);
        let written = opened.and_then(|mut file| file.write_all(b"evil"));
        let error = written.expect_err("nobody may write");
        assert!(error.raw_os_error().is_some_and(|errno| refusal.contains(&errno)), "{error}");
    }

    #[test]
    fn a_sealed_program_runs_and_cannot_be_written() {
        let busybox = Path::new("/bin/busybox");
        if !rustix::process::geteuid().is_root() || !busybox.exists() {
            return;
        }
        check(&read_only_mount(busybox).expect("mount"), &[libc::EROFS, libc::ETXTBSY]);
        check(&sealed_copy(busybox).expect("copy"), &[libc::EPERM]);
    }
}
