//! One cgroup.

use std::{
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Branch, Entrance, Error, Hierarchy, Layout, Limits, Metrics, Stats, kill,
    systemd::{Placeholder, Scope},
    tree,
};
use crate::types::Resources;

/// A handle on one cgroup, which need not exist: operations on a missing one fail with `NotFound`, except those that
/// find nothing to do.
#[derive(Debug, Clone)]
pub struct Cgroup {
    hierarchy: Hierarchy,
    /// Relative to each mount point, without `..`.
    path: PathBuf,
    /// Keeps a new scope of systemd's alive.
    placeholder: Option<Arc<Placeholder>>,
}

impl Cgroup {
    pub(super) fn new(hierarchy: Hierarchy, path: PathBuf) -> Self {
        Self { hierarchy, path, placeholder: None }
    }

    /// Makes it and its parents and applies limits.
    pub(super) fn create(&mut self, limits: &Limits) -> Result<(), Error> {
        if let Some(scope) = Scope::of(&self.path) {
            self.placeholder = Some(Arc::new(scope.start(limits, self.hierarchy.version())?));
        }
        match &*self.hierarchy.0 {
            Layout::V1(layout) => layout.create(&self.path).and_then(|()| layout.apply(&self.path, limits)),
            Layout::V2(layout) => layout.create(&self.path).and_then(|()| layout.apply(&self.path, limits)),
        }
    }

    /// Removes it if it has no processes.
    pub(super) fn abandon(&mut self) {
        self.placeholder = None;
        for directory in self.directories() {
            // The error that led here is the one to tell.
            let _ = tree::remove_once(&directory);
        }
    }

    /// Opens the way in for processes that are about to be cloned.
    ///
    /// This is the fast way: moving another process by [`Cgroup::add`] waits for an RCU grace period (10 ms and more on
    /// a busy machine); being cloned into it and moving oneself while single-threaded does not (0.1 ms).
    pub fn entrance(&self) -> Result<Entrance, Error> {
        self.branch_entrance(None)
    }

    pub(super) fn branch_entrance(&self, branch: Option<&str>) -> Result<Entrance, Error> {
        match &*self.hierarchy.0 {
            Layout::V1(layout) => layout.entrance(&self.path, branch),
            Layout::V2(layout) => layout.entrance(&self.path, branch),
        }
    }

    /// Moves a process (all its threads) into the cgroup.
    pub fn add(&self, pid: i32) -> Result<(), Error> {
        let pid = pid.to_string();
        self.directories().iter().try_for_each(|directory| super::file::write(&directory.join("cgroup.procs"), &pid))
    }

    /// Makes a sub-group without limits of its own for one exec session, so that its processes can be listed and killed
    /// without the container's. Only the hierarchy that tracks processes gets a directory.
    pub fn branch(&self, name: &str) -> Result<Branch, Error> {
        Branch::create(self, name)
    }

    /// Applies limits; zero and empty ones stay as they are.
    ///
    /// # Errors
    /// Values that the kernel refuses, and a memory limit below what is in use.
    pub fn apply(&self, limits: &Limits) -> Result<(), Error> {
        if let Layout::V2(layout) = &*self.hierarchy.0 {
            layout.check_memory(&self.path, limits)?;
        }
        if let Some(scope) = Scope::of(&self.path) {
            scope.update(limits, self.hierarchy.version())?;
        }
        match &*self.hierarchy.0 {
            Layout::V1(layout) => layout.apply(&self.path, limits),
            Layout::V2(layout) => layout.apply(&self.path, limits),
        }
    }

    /// Reads the limits in force; −1 is no limit, zero and empty are what the host lacks. On v2, CPU shares are the
    /// greatest ones with the weight in force. Huge page limits and raw values are not read.
    pub fn effective(&self) -> Result<Resources, Error> {
        match &*self.hierarchy.0 {
            Layout::V1(layout) => layout.effective(&self.path),
            Layout::V2(layout) => layout.effective(&self.path),
        }
    }

    /// Measures.
    pub fn stats(&self) -> Result<Stats, Error> {
        match &*self.hierarchy.0 {
            Layout::V1(layout) => layout.stats(&self.path),
            Layout::V2(layout) => layout.stats(&self.path),
        }
    }

    /// How many processes and threads are in it and below; `None` without the controller, or when the cgroup is gone.
    pub fn tasks(&self) -> Result<Option<u64>, Error> {
        match &*self.hierarchy.0 {
            Layout::V1(layout) => layout.tasks(&self.path),
            Layout::V2(layout) => layout.tasks(&self.path),
        }
    }

    /// Measures all that there is to tell: as [`Self::stats`], with limits and counters that take more files.
    pub fn metrics(&self) -> Result<Metrics, Error> {
        match &*self.hierarchy.0 {
            Layout::V1(layout) => layout.metrics(&self.path),
            Layout::V2(layout) => layout.metrics(&self.path),
        }
    }

    /// How many processes the kernel killed here for memory, since the cgroup was made.
    pub fn oom_kills(&self) -> Result<u64, Error> {
        match &*self.hierarchy.0 {
            Layout::V1(layout) => layout.oom_kills(&self.path),
            Layout::V2(layout) => layout.oom_kills(&self.path),
        }
    }

    /// Opens the files that tell of kills for memory while they happen (`POLLPRI`), of a cgroup that may be gone with the
    /// count when its last process is: systemd removes its scopes then. The second one is of the slice that it is in, and
    /// counts for all of that. `None` for other cgroups, and where nothing tells.
    pub fn memory_events(&self) -> Option<(OwnedFd, OwnedFd)> {
        match &*self.hierarchy.0 {
            Layout::V2(layout) if Scope::of(&self.path).is_some() => {
                Some((layout.memory_events(&self.path)?, layout.memory_events(self.path.parent()?)?))
            }
            _ => None,
        }
    }

    /// Processes in it and below; none if it is gone.
    pub fn processes(&self) -> Result<Vec<i32>, Error> {
        tree::processes(&self.tracking())
    }

    /// Stops all processes in it and below.
    pub fn freeze(&self) -> Result<(), Error> {
        kill::freeze(&self.freezer())
    }

    /// Lets them go on.
    pub fn thaw(&self) -> Result<(), Error> {
        kill::thaw(&self.freezer())
    }

    /// Kills all processes in it and below with SIGKILL and waits until they are gone or zombies, two seconds at most.
    pub fn kill(&self) -> Result<(), Error> {
        self.refuse_root()?;
        if let Layout::V1(layout) = &*self.hierarchy.0 {
            layout.thaw_for_kill(&self.path)?;
        }
        kill::kill(&self.tracking())
    }

    /// Removes it with all below; fine when it is gone already. Retries, two seconds at most, while dying processes
    /// hold it.
    pub fn remove(&self) -> Result<(), Error> {
        self.refuse_root()?;
        let stopped = Scope::of(&self.path).map_or(Ok(()), |scope| scope.stop());
        self.directories().iter().try_for_each(|directory| tree::remove(directory))?;
        stopped
    }

    /// The root cgroup holds the whole host.
    fn refuse_root(&self) -> Result<(), Error> {
        if self.path.as_os_str().is_empty() { Err(Error::InvalidPath("/".into())) } else { Ok(()) }
    }

    /// Its directory in the hierarchy that tracks its processes.
    pub(super) fn tracking(&self) -> PathBuf {
        match &*self.hierarchy.0 {
            Layout::V1(layout) => layout.tracking(&self.path),
            Layout::V2(layout) => layout.directory(&self.path),
        }
    }

    fn freezer(&self) -> PathBuf {
        match &*self.hierarchy.0 {
            Layout::V1(layout) => layout.freezer(&self.path),
            Layout::V2(layout) => layout.directory(&self.path),
        }
    }

    pub(super) fn directories(&self) -> Vec<PathBuf> {
        match &*self.hierarchy.0 {
            Layout::V1(layout) => layout.directories(&self.path).collect(),
            Layout::V2(layout) => vec![layout.directory(&self.path)],
        }
    }

    /// Its path below the mount points, without a slash before it.
    pub fn path(&self) -> &Path {
        &self.path
    }
}
