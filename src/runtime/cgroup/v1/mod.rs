//! cgroup v1: a hierarchy for each controller or few, `Documentation/admin-guide/cgroup-v1/`.
//!
//! On a hybrid host cgroup2 is mounted beside them without controllers. Every cgroup gets a directory there too: it is
//! what `clone3` can clone into, kills with one write and tells the pressure.

mod cpuset;
mod effective;
mod metrics;
mod settings;
mod stats;

use std::path::{Path, PathBuf};

use super::{Entrance, Error, Limits, Metrics, Stats, file, setting, tree};
use crate::types::Resources;

/// A mounted hierarchy.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mount {
    /// Its controllers; several may share one (`cpu` and `cpuacct`), and one may have none but a name (`name=systemd`).
    pub(super) controllers: Vec<String>,
    /// Where it is mounted.
    pub(super) dir: PathBuf,
}

/// All that is mounted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// The v1 hierarchies.
    pub(super) hierarchies: Vec<Mount>,
    /// The mount point of cgroup2, on a hybrid host.
    pub(super) unified: Option<PathBuf>,
}

impl Layout {
    /// The directory of the cgroup `path` for a controller, if the host has it.
    fn directory(&self, controller: &str, path: &Path) -> Option<PathBuf> {
        let has = |mount: &&Mount| mount.controllers.iter().any(|name| name == controller);
        self.hierarchies.iter().find(has).map(|mount| mount.dir.join(path))
    }

    /// The directory that tracks the processes of the cgroup `path`: cgroup2, else the freezer, else any.
    pub(super) fn tracking(&self, path: &Path) -> PathBuf {
        let unified = self.unified.as_ref().map(|root| root.join(path));
        let any = || self.hierarchies.first().map_or_else(PathBuf::new, |mount| mount.dir.join(path));
        unified.or_else(|| self.directory("freezer", path)).unwrap_or_else(any)
    }

    /// The directory that can freeze the cgroup `path`.
    pub(super) fn freezer(&self, path: &Path) -> PathBuf {
        self.directory("freezer", path).unwrap_or_else(|| self.tracking(path))
    }

    /// The directories of the cgroup `path` in all hierarchies, cgroup2 last.
    pub(super) fn directories(&self, path: &Path) -> impl Iterator<Item = PathBuf> {
        self.hierarchies.iter().map(|mount| &mount.dir).chain(&self.unified).map(move |root| root.join(path))
    }

    /// Makes the cgroup and its parents.
    pub(super) fn create(&self, path: &Path) -> Result<(), Error> {
        self.directories(path).try_for_each(|directory| tree::create(&directory).map(drop))?;
        self.directory("cpuset", path).map_or(Ok(()), |directory| cpuset::inherit(&directory))
    }

    /// Writes limits.
    pub(super) fn apply(&self, path: &Path, limits: &Limits) -> Result<(), Error> {
        setting::apply(&settings::plan(limits), |controller| self.directory(controller, path))
    }

    /// Opens the way into `path`, or, for its processes' tracking alone, into `branch` below it.
    pub(super) fn entrance(&self, path: &Path, branch: Option<&str>) -> Result<Entrance, Error> {
        let tracking = self.tracking(path);
        let branch = branch.map_or_else(|| tracking.clone(), |branch| tracking.join(branch));
        let enter = |mount: &Mount| Some(mount.dir.join(path)).filter(|directory| *directory != tracking);
        let hierarchies = self.hierarchies.iter().filter_map(enter);
        match self.unified {
            Some(_) => Entrance::open(Some(&branch), hierarchies),
            None => Entrance::open(None, hierarchies.chain([branch])),
        }
    }

    /// How many processes the kernel killed in `path` for memory.
    pub(super) fn oom_kills(&self, path: &Path) -> Result<u64, Error> {
        let Some(directory) = self.directory("memory", path) else { return Ok(0) };
        // Absent before kernel 4.13.
        Ok(file::keyed(&file::read(&directory.join("memory.oom_control"))?, "oom_kill").unwrap_or(0))
    }

    /// Lets go what the v1 freezer holds, where another hierarchy does the killing: a frozen task cannot die.
    pub(super) fn thaw_for_kill(&self, path: &Path) -> Result<(), Error> {
        match self.directory("freezer", path) {
            Some(directory) if self.unified.is_some() => super::kill::thaw(&directory),
            _ => Ok(()),
        }
    }

    /// Measures `path`.
    pub(super) fn stats(&self, path: &Path) -> Result<Stats, Error> {
        stats::read(self, path)
    }

    /// How many processes and threads `path` has.
    pub(super) fn tasks(&self, path: &Path) -> Result<Option<u64>, Error> {
        match self.directory("pids", path) {
            Some(directory) => file::bound(&directory.join("pids.current")),
            None => Ok(None),
        }
    }

    /// Reads all that metrics tell of `path`.
    pub(super) fn metrics(&self, path: &Path) -> Result<Metrics, Error> {
        metrics::read(self, path)
    }

    /// Reads the limits in force on `path`.
    pub(super) fn effective(&self, path: &Path) -> Result<Resources, Error> {
        effective::read(self, path)
    }
}
