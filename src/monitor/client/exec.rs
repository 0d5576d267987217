//! A process that was added to a container.

use std::os::fd::OwnedFd;

use tokio::sync::oneshot;

use super::{Error, link::Link};
use crate::{
    monitor::wire::Request,
    types::{ExitStatus, Id},
};

/// A running exec. Dropping it before its end kills the process and all that descend from it, unless it is detached.
#[derive(Debug)]
pub struct Exec {
    pub(super) link: Link,
    pub(super) id: Id,
    pub(super) pid: i32,
    pub(super) detached: bool,
    pub(super) exit: Exit,
    /// The terminal's master side. Reading gives `EIO` when the last process has closed the other side.
    pub console: Option<OwnedFd>,
}

#[derive(Debug)]
pub(super) enum Exit {
    Awaited(oneshot::Receiver<ExitStatus>),
    Seen(ExitStatus),
}

impl Exec {
    /// Its id, for [`super::Monitor::resize`].
    pub fn id(&self) -> &Id {
        &self.id
    }

    /// Its process, in the host's numbering.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Waits for the process's end. Descendants may live on and hold its stdio.
    pub async fn wait(&mut self) -> Result<ExitStatus, Error> {
        let status = match &mut self.exit {
            Exit::Seen(status) => return Ok(status.clone()),
            Exit::Awaited(receiver) => receiver.await.map_err(|_| Error::Gone { operation: "wait for exec" })?,
        };
        self.exit = Exit::Seen(status.clone());
        Ok(status)
    }

    /// Kills the process and all that descend from it, daemons too; [`Exec::wait`] then tells its end.
    pub async fn kill(&self) -> Result<(), Error> {
        self.link.call("kill exec", &Request::KillExec { exec: self.id.clone() }, vec![]).await.map(drop)
    }
}

impl Drop for Exec {
    fn drop(&mut self) {
        if !self.detached && matches!(self.exit, Exit::Awaited(_)) {
            self.link.post(&Request::KillExec { exec: self.id.clone() });
        }
    }
}
