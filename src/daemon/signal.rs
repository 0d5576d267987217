//! The signals that end the daemon.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Error;

/// Waits for `SIGTERM` and `SIGINT`.
#[derive(Debug)]
pub(super) struct Termination {
    term: Signal,
    int: Signal,
}

impl Termination {
    /// Begins to catch the signals.
    pub(super) fn listen() -> Result<Self, Error> {
        let catch = |kind| signal(kind).map_err(|source| Error::Process("catch signals", source));
        Ok(Self { term: catch(SignalKind::terminate())?, int: catch(SignalKind::interrupt())? })
    }

    /// The name of the next one.
    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.term.recv() => "SIGTERM",
            _ = self.int.recv() => "SIGINT",
        }
    }
}
