//! The streaming server: exec, attach and port-forward sessions over SPDY/3.1 and WebSocket.
//!
//! - **Owns:** tokens, the HTTP listener for them, both wire protocols, copying between a client and a session.
//! - **Never:** knows what a container is; it gets its sessions from a [`Backend`].
//! - **Runs in:** the daemon.
//! - **Start reading at:** `server.rs`, then `remote.rs` (exec, attach) and `portforward.rs`.
//!
//! One packet model stands under both protocols: a connection carries numbered streams, each a bounded queue of bytes
//! in either direction (`channel.rs`). A queue that is full stops the reading of the connection, so a slow end slows
//! the other and memory stays where it is.

mod channel;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod hangup;
mod portforward;
mod remote;
mod server;
mod spdy;
mod status;
mod token;
mod websocket;

use std::{future::Future, pin::Pin, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::mpsc,
};

pub use error::Error;
pub use server::Server;

/// How long a client is given to read the last bytes and close, and a session to take the last bytes of a client.
const LINGER: Duration = Duration::from_secs(5);

/// A future that can be stored.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Which streams a client wants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Streams {
    /// Bytes to the process.
    pub stdin: bool,
    /// Bytes from it.
    pub stdout: bool,
    /// Its error output; never with a terminal.
    pub stderr: bool,
    /// A terminal, whose size the client may change.
    pub tty: bool,
}

/// What a token stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ticket {
    /// A command to be run in a container.
    Exec {
        /// The container's id.
        container: String,
        /// The command.
        command: Vec<String>,
        /// The streams.
        streams: Streams,
    },
    /// A container's own streams.
    Attach {
        /// The container's id.
        container: String,
        /// The streams.
        streams: Streams,
    },
    /// Ports of a pod.
    PortForward {
        /// The pod's id.
        pod: String,
        /// The ports that may be asked for; empty for any.
        ports: Vec<u16>,
    },
}

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Columns.
    pub width: u16,
    /// Lines.
    pub height: u16,
}

/// A running exec or an attachment, as the server copies it.
pub struct Session {
    /// Where the client's input goes.
    pub stdin: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    /// Where output comes from.
    pub stdout: Option<Box<dyn AsyncRead + Send + Unpin>>,
    /// Where error output comes from.
    pub stderr: Option<Box<dyn AsyncRead + Send + Unpin>>,
    /// Takes new terminal sizes.
    pub resize: Option<mpsc::Sender<Size>>,
    /// The exit code once it is over. Dropping it unfinished tells the session that its client has gone.
    pub exit: BoxFuture<'static, Result<i32, String>>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("stdin", &self.stdin.is_some()).finish_non_exhaustive()
    }
}

/// Where sessions come from. Errors are sentences for the client.
pub trait Backend: Send + Sync + 'static {
    /// Runs a command.
    fn exec(&self, container: String, command: Vec<String>, streams: Streams)
    -> BoxFuture<'_, Result<Session, String>>;

    /// Attaches to a container.
    fn attach(&self, container: String, streams: Streams) -> BoxFuture<'_, Result<Session, String>>;

    /// Connects to a TCP port on the loopback addresses of a pod, IPv4 before IPv6.
    fn dial(&self, pod: String, port: u16) -> BoxFuture<'_, Result<TcpStream, String>>;
}
