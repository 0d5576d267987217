//! cgroup v2: the unified hierarchy, `Documentation/admin-guide/cgroup-v2.rst`.

mod delegate;
mod device_filter;
mod effective;
mod metrics;
mod settings;
mod stats;
mod weight;

pub(super) use weight::from_shares;

use std::{
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use super::{Entrance, Error, Limits, Metrics, Stats, file, memory_events, setting, tree};
use crate::types::Resources;

/// The mounted hierarchy.
#[derive(Debug)]
pub(super) struct Layout {
    /// Where it is mounted.
    root: PathBuf,
    /// Controllers that cgroups are given, of those that the root has.
    controllers: Vec<String>,
}

impl Layout {
    /// Sees what the hierarchy mounted at `root` has.
    pub(super) fn new(root: PathBuf) -> Result<Self, Error> {
        let controllers = delegate::wanted(&file::read(&root.join("cgroup.controllers"))?);
        Ok(Self { root, controllers })
    }

    /// The directory of the cgroup `path`.
    pub(super) fn directory(&self, path: &Path) -> PathBuf {
        self.root.join(path)
    }

    /// Makes the cgroup and its parents, with all controllers.
    pub(super) fn create(&self, path: &Path) -> Result<(), Error> {
        let directory = self.directory(path);
        tree::create(&directory)?;
        directory.parent().map_or(Ok(()), |parent| delegate::to_children(&self.root, parent, &self.controllers))
    }

    /// Writes limits.
    pub(super) fn apply(&self, path: &Path, limits: &Limits) -> Result<(), Error> {
        let directory = self.directory(path);
        setting::apply(&settings::plan(limits), |_| Some(directory.clone()))?;
        limits.devices.as_ref().map_or(Ok(()), |rules| device_filter::apply(&directory, rules))
    }

    /// Refuses a memory limit below what cannot be reclaimed: the kernel would take it and kill.
    pub(super) fn check_memory(&self, path: &Path, limits: &Limits) -> Result<(), Error> {
        let Ok(limit @ 1..) = u64::try_from(limits.resources.memory_limit) else { return Ok(()) };
        let directory = self.directory(path);
        let usage = stats::unreclaimable(&directory)?;
        if usage > limit { Err(Error::BelowUsage { limit, usage }) } else { Ok(()) }
    }

    /// Opens the way into `path`, or into `branch` below it.
    pub(super) fn entrance(&self, path: &Path, branch: Option<&str>) -> Result<Entrance, Error> {
        let directory = self.directory(path);
        let directory = branch.map_or_else(|| directory.clone(), |branch| directory.join(branch));
        Entrance::open(Some(&directory), std::iter::empty())
    }

    /// How many processes the kernel killed in `path` and below for memory.
    pub(super) fn oom_kills(&self, path: &Path) -> Result<u64, Error> {
        let events = file::read_if_present(&self.directory(path).join("memory.events"))?;
        Ok(events.and_then(|events| file::keyed(&events, "oom_kill")).unwrap_or(0))
    }

    /// Opens the file that tells of kills for memory.
    pub(super) fn memory_events(&self, path: &Path) -> Option<OwnedFd> {
        memory_events::open(&self.directory(path).join("memory.events"))
    }

    /// Measures `path`.
    pub(super) fn stats(&self, path: &Path) -> Result<Stats, Error> {
        stats::read(&self.directory(path))
    }

    /// How many processes and threads `path` has.
    pub(super) fn tasks(&self, path: &Path) -> Result<Option<u64>, Error> {
        file::bound(&self.directory(path).join("pids.current"))
    }

    /// Reads all that metrics tell of `path`.
    pub(super) fn metrics(&self, path: &Path) -> Result<Metrics, Error> {
        metrics::read(&self.directory(path))
    }

    /// Reads the limits in force on `path`.
    pub(super) fn effective(&self, path: &Path) -> Result<Resources, Error> {
        effective::read(&self.directory(path))
    }
}
