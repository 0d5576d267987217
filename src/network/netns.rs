//! Work inside another network namespace.

use std::{
    fs::File,
    io,
    os::fd::AsFd,
    path::{Path, PathBuf},
    thread,
};

use netlink_sys::{AsyncSocket, TokioSocket, protocols::NETLINK_ROUTE};
use nix::sched::{CloneFlags, setns};
use rtnetlink::Handle;
use tokio::task::JoinHandle;

use super::Error;

/// An open network namespace.
#[derive(Debug)]
pub(super) struct Netns {
    path: PathBuf,
    file: File,
}

impl Netns {
    /// Opens the namespace that is pinned at `path`.
    ///
    /// # Errors
    /// When there is no such file.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(|source| Error::Netns { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// The open file, to name the namespace in a request.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Does short blocking work inside the namespace, on a thread made for it: a thread that has been elsewhere is
    /// never used for anything else.
    ///
    /// # Errors
    /// When the namespace cannot be entered, or what `work` says.
    pub(super) fn run<T: Send>(&self, work: impl FnOnce() -> io::Result<T> + Send) -> Result<T, Error> {
        let enter_and_work = || {
            setns(self.file.as_fd(), CloneFlags::CLONE_NEWNET)?;
            work()
        };
        let done = thread::scope(|scope| {
            let thread = thread::Builder::new().name("netns".to_owned()).spawn_scoped(scope, enter_and_work)?;
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        done.map_err(|source| Error::Netns { path: self.path.clone(), source })
    }

    /// Connects to the links of the namespace. To be called in an async runtime, on a thread whose namespace is that of
    /// the process: it goes there and back, as another thread would have to be waited for. One that cannot come back
    /// would work on somebody else's links from now on, so it ends the process instead.
    ///
    /// # Errors
    /// When the namespace cannot be entered or the socket cannot be made.
    pub(super) fn connect(&self) -> Result<Connection, Error> {
        let connect = || {
            let home = File::open("/proc/thread-self/ns/net")?;
            setns(self.file.as_fd(), CloneFlags::CLONE_NEWNET)?;
            let connected = TokioSocket::new(NETLINK_ROUTE).map(|socket| (socket, has_ipv6()));
            if let Err(error) = setns(home.as_fd(), CloneFlags::CLONE_NEWNET) {
                tracing::error!(%error, "cannot come back from a pod's network namespace");
                std::process::abort();
            }
            connected
        };
        let (socket, ipv6) = connect().map_err(|source| Error::Netns { path: self.path.clone(), source })?;
        Ok(Connection::over(socket, ipv6))
    }
}

/// Whether the calling thread's namespace can have IPv6 addresses.
fn has_ipv6() -> bool {
    let disabled = std::fs::read_to_string("/proc/sys/net/ipv6/conf/all/disable_ipv6");
    disabled.is_ok_and(|text| text.trim() == "0")
}

/// A connection to the links of one namespace; closed when dropped.
#[derive(Debug)]
pub(super) struct Connection {
    handle: Handle,
    ipv6: bool,
    task: JoinHandle<()>,
}

impl Connection {
    /// Connects to the links of the namespace that the calling thread is in. To be called in an async runtime.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub(super) fn here() -> io::Result<Self> {
        Ok(Self::over(TokioSocket::new(NETLINK_ROUTE)?, has_ipv6()))
    }

    fn over(socket: TokioSocket, ipv6: bool) -> Self {
        let (connection, handle, _) = rtnetlink::from_socket(socket);
        Self { handle, ipv6, task: tokio::spawn(connection) }
    }

    /// Whether links of the namespace can have IPv6 addresses.
    pub(super) fn has_ipv6(&self) -> bool {
        self.ipv6
    }

    /// For requests.
    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Otherwise the socket would keep the namespace, and the pod's link with it, until the task is next polled.
        self.task.abort();
    }
}
