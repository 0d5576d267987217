//! Control groups, both versions, by plain file operations.
//!
//! - **Owns:** where cgroups are mounted, making, limiting, measuring, killing and removing them.
//! - **Never:** decides a container's cgroup path or keeps track of containers.
//! - **Runs in:** the daemon (stats, updates) and the monitors (creation to removal); [`Entrance::join`] in a new
//!   container process.
//! - **Start reading at:** [`Hierarchy`], then [`Cgroup`].

mod device;
mod error;
mod limits;
mod stats;

use std::{os::fd::BorrowedFd, path::Path};

pub use device::{Access, DeviceKind, DeviceRule};
pub use error::Error;
pub use limits::{InvalidLimit, Limits};
pub use stats::{Cpu, Io, Memory, Pids, Pressure, Stall, Stats, Throttling};

use crate::types::Resources;

/// Version of the cgroup interface that the controllers are on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Version {
    /// One hierarchy for each controller, also when cgroup2 is mounted beside them without controllers (hybrid).
    V1,
    /// The unified hierarchy.
    V2,
}

/// The host's cgroup hierarchies: detected once, cheap to clone.
#[derive(Debug, Clone)]
pub struct Hierarchy {}

impl Hierarchy {
    /// Finds what is mounted.
    pub fn detect() -> Result<Self, Error> {
        todo!()
    }

    /// Which version the controllers are on.
    pub fn version(&self) -> Version {
        todo!()
    }

    /// Makes the cgroup `path` and its parents and applies `limits`. One that exists already is used.
    pub fn create(&self, path: &str, limits: &Limits) -> Result<Cgroup, Error> {
        let _ = (path, limits);
        todo!()
    }

    /// A handle on `path`, which need not exist.
    pub fn open(&self, path: &str) -> Cgroup {
        let _ = path;
        todo!()
    }
}

/// Says that `path` is an absolute, clean cgroup path: `/kubepods/pod1/berth-1`.
pub fn validate_path(path: &str) -> Result<(), Error> {
    let _ = path;
    todo!()
}

/// A handle on one cgroup.
#[derive(Debug, Clone)]
pub struct Cgroup {}

impl Cgroup {
    /// Its path below the mount points.
    pub fn path(&self) -> &Path {
        todo!()
    }

    /// Opens the way in for processes that are about to be cloned.
    ///
    /// This is the fast way: moving another process by [`Cgroup::add`] waits for an RCU grace period (10 ms and more on
    /// a busy machine); being cloned into it and moving oneself while single-threaded does not (0.1 ms).
    pub fn entrance(&self) -> Result<Entrance, Error> {
        todo!()
    }

    /// Moves a process (all its threads) into the cgroup.
    pub fn add(&self, pid: i32) -> Result<(), Error> {
        let _ = pid;
        todo!()
    }

    /// Makes a sub-group without limits of its own for one exec session, so that its processes can be listed and killed
    /// without the container's. Only the hierarchy that kills gets a directory.
    pub fn branch(&self, name: &str) -> Result<Branch, Error> {
        let _ = name;
        todo!()
    }

    /// Applies limits; zero and empty ones stay as they are.
    pub fn apply(&self, limits: &Limits) -> Result<(), Error> {
        let _ = limits;
        todo!()
    }

    /// Reads the limits in force.
    pub fn effective(&self) -> Result<Resources, Error> {
        todo!()
    }

    /// Measures.
    pub fn stats(&self) -> Result<Stats, Error> {
        todo!()
    }

    /// How many processes the kernel killed here for memory, since the cgroup was made.
    pub fn oom_kills(&self) -> Result<u64, Error> {
        todo!()
    }

    /// Processes in it and below.
    pub fn processes(&self) -> Result<Vec<i32>, Error> {
        todo!()
    }

    /// Stops all processes in it and below.
    pub fn freeze(&self) -> Result<(), Error> {
        todo!()
    }

    /// Lets them go on.
    pub fn thaw(&self) -> Result<(), Error> {
        todo!()
    }

    /// Kills all processes in it and below with SIGKILL and waits, within bounds, until they are gone or zombies.
    pub fn kill(&self) -> Result<(), Error> {
        todo!()
    }

    /// Removes it with all below; fine when it is gone already. Retries for a moment while dying processes hold it.
    pub fn remove(&self) -> Result<(), Error> {
        todo!()
    }
}

/// The way into a cgroup for new processes.
///
/// The parent gives [`Entrance::directory`] to `clone3` with `CLONE_INTO_CGROUP`; the child calls [`Entrance::join`]
/// first of all, before it starts a thread or leaves the host's user namespace.
#[derive(Debug)]
pub struct Entrance {}

impl Entrance {
    /// The directory for `CLONE_INTO_CGROUP`: cgroup v2, or the unified hierarchy of a hybrid host.
    pub fn directory(&self) -> Option<BorrowedFd<'_>> {
        todo!()
    }

    /// Moves the calling, single-threaded process into the v1 hierarchies (and, only if it was not cloned with
    /// [`Entrance::directory`], `cloned` = false, into the unified one). Only `write(2)`: safe after `fork`.
    pub fn join(&self, cloned: bool) -> std::io::Result<()> {
        let _ = cloned;
        todo!()
    }
}

/// A sub-group for one exec session.
#[derive(Debug)]
pub struct Branch {}

impl Branch {
    /// The way in, as [`Cgroup::entrance`].
    pub fn entrance(&self) -> Result<Entrance, Error> {
        todo!()
    }

    /// Processes in it.
    pub fn processes(&self) -> Result<Vec<i32>, Error> {
        todo!()
    }

    /// Kills all its processes, as [`Cgroup::kill`].
    pub fn kill(&self) -> Result<(), Error> {
        todo!()
    }

    /// Removes it, as [`Cgroup::remove`]; removing the whole cgroup does it too.
    pub fn remove(&self) -> Result<(), Error> {
        todo!()
    }
}
