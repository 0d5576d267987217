//! What all actors share: the daemon, what it has promised, and how often something was killed.

use std::{
    cell::{Cell, RefCell},
    time::{Duration, Instant},
};

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::{faults::Faults, promises::Promises, support::Daemon};

/// A run.
pub(crate) struct World {
    /// Held for reading during each call. Who has killed the daemon waits for all calls to fail before it is started
    /// again, and new ones wait for that.
    daemon: RwLock<Daemon>,
    /// How often the daemon was ended.
    deaths: Cell<u32>,
    calls: Cell<u32>,
    began: Instant,
    length: Duration,
    /// What the daemon has answered and must remember.
    pub(crate) promises: RefCell<Promises>,
    /// What is taken from it.
    pub(crate) faults: RefCell<Faults>,
}

impl World {
    pub(crate) fn new(daemon: Daemon, length: Duration) -> Self {
        Self {
            daemon: RwLock::new(daemon),
            deaths: Cell::default(),
            calls: Cell::default(),
            began: Instant::now(),
            length,
            promises: RefCell::default(),
            faults: RefCell::default(),
        }
    }

    /// Whether actors begin nothing new any more.
    pub(crate) fn is_over(&self) -> bool {
        self.age() >= self.length
    }

    /// Whether the daemon lives on from now on, so that what one of them gathers in its life can be seen. Faults go on.
    pub(crate) fn is_calm(&self) -> bool {
        self.age() >= self.length * 2 / 3
    }

    pub(crate) fn age(&self) -> Duration {
        self.began.elapsed()
    }

    /// The daemon, for one call.
    pub(crate) async fn daemon(&self) -> RwLockReadGuard<'_, Daemon> {
        self.calls.set(self.calls.get() + 1);
        self.daemon.read().await
    }

    /// The daemon, when all calls have ended.
    pub(crate) async fn daemon_alone(&self) -> RwLockWriteGuard<'_, Daemon> {
        self.daemon.write().await
    }

    pub(crate) fn deaths(&self) -> u32 {
        self.deaths.get()
    }

    /// To be said before the daemon is ended: from now on calls may fail.
    pub(crate) fn daemon_dies(&self) {
        self.deaths.set(self.deaths.get() + 1);
    }

    /// What has happened.
    pub(crate) fn tally(&self) -> String {
        let (calls, deaths) = (self.calls.get(), self.deaths.get());
        let (faults, promises) = (self.faults.borrow().tally(), self.promises.borrow().tally());
        format!("{calls} calls, {deaths} deaths of the daemon, {faults}, {promises}")
    }

    pub(crate) fn into_daemon(self) -> Daemon {
        self.daemon.into_inner()
    }
}
