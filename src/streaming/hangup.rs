//! The end of a client from which nothing is read at the time.

use std::{io, os::fd::AsFd as _};

use tokio::{io::Interest, net::TcpStream, time::sleep};

use super::LINGER;

/// Notices that a client has closed its connection although what it sent before waits to be read, because the process
/// that it is for does not take it. Only the kernel knows of such an end; one behind more bytes than the kernel has room
/// for is not seen before those are read.
#[derive(Debug)]
pub(super) struct HangUp(TcpStream);

impl HangUp {
    /// Watches a connection. This holds a descriptor of it: to be dropped with the session.
    ///
    /// # Errors
    /// When there are too many descriptors.
    pub(super) fn watch(connection: &TcpStream) -> io::Result<Self> {
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
