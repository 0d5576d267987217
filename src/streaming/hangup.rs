//! The end of a client from which nothing is read at the time.

use std::{io, os::fd::AsFd as _, time::Duration};

use rustix::net::sockopt;
use tokio::{io::Interest, net::TcpStream, time::sleep};

use super::LINGER;

/// After how long without a word the kernel asks a client whether it lives.
const ALIVE_AFTER: Duration = Duration::from_secs(30);
/// How often it asks then.
const ALIVE_AGAIN: Duration = Duration::from_secs(10);

/// Notices that a client has closed its connection although what it sent before waits to be read, because the process
/// that it is for does not take it. Only the kernel knows of such an end. One behind more bytes than the kernel has room
/// for never arrives: the client's kernel gives up after some minutes, and answers then, asked whether the client lives,
/// that it knows of no connection, `tcp(7)`.
#[derive(Debug)]
pub(super) struct HangUp(TcpStream);

impl HangUp {
    /// Watches a connection. This holds a descriptor of it: to be dropped with the session.
    ///
    /// # Errors
    /// When there are too many descriptors.
    pub(super) fn watch(connection: &TcpStream) -> io::Result<Self> {
        sockopt::set_tcp_keepidle(connection, ALIVE_AFTER)?;
        sockopt::set_tcp_keepintvl(connection, ALIVE_AGAIN)?;
        sockopt::set_socket_keepalive(connection, true)?;
        let copy = connection.as_fd().try_clone_to_owned()?;
        TcpStream::from_std(copy.into()).map(Self)
    }

    /// Runs a session until its end, or for some seconds more after its client has closed the connection: what can be
    /// delivered is.
    pub(super) async fn limit(&self, session: impl Future<Output = ()>) {
        tokio::select! {
            () = session => {}
            () = self.closed() => {}
        }
    }

    async fn closed(&self) {
        // For tokio, "priority" is that or the end of reading, and urgent bytes are not watched: bytes do not wake this.
        if self.0.ready(Interest::PRIORITY).await.is_err() {
            return;
        }
        sleep(LINGER).await;
    }
}
