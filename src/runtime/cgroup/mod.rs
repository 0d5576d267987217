//! Control groups, both versions, by plain file operations.
//!
//! - **Owns:** where cgroups are mounted, making, limiting, measuring, killing and removing them.
//! - **Never:** decides a container's cgroup path or keeps track of containers.
//! - **Runs in:** the daemon (stats, updates) and the monitors (creation to removal); [`Entrance::join`] in a new
//!   container process.
//! - **Start reading at:** [`Hierarchy`], then [`Cgroup`]; what differs between the versions is in `v1` and `v2`.

mod branch;
mod device;
mod driver;
mod entrance;
mod error;
mod file;
mod group;
mod kill;
mod limits;
mod memory_events;
mod metrics;
mod mount;
mod setting;
mod stats;
mod systemd;
mod tree;
mod v1;
mod v2;

use std::{
    path::{Component, Path, PathBuf},
    sync::{Arc, OnceLock},
};

pub use branch::Branch;
pub use device::{Access, DeviceKind, DeviceRule};
pub use driver::Driver;
pub use entrance::Entrance;
pub use error::Error;
pub use group::Cgroup;
pub use limits::{InvalidLimit, Limits};
pub use memory_events::oom_kills;
pub use metrics::{DeviceIo, Metrics, Throttling};
pub use stats::{Cpu, Io, Memory, Pressure, Stall, Stats};

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
pub struct Hierarchy(Arc<Layout>);

#[derive(Debug)]
enum Layout {
    V1(v1::Layout),
    V2(v2::Layout),
}

/// Longest path of a cgroup, well below `PATH_MAX` with any mount point before it and file name after it.
const LONGEST_PATH: usize = 3_000;
/// Longest name of a directory.
const LONGEST_NAME: usize = 255;

impl Hierarchy {
    /// The host's, found once in a process and by those that are forked from it: the table of mounts grows with the pods.
    ///
    /// # Errors
    /// When no cgroups are mounted, or the table of mounts cannot be read.
    pub fn detect() -> Result<Self, Error> {
        static FOUND: OnceLock<Hierarchy> = OnceLock::new();
        if let Some(found) = FOUND.get() {
            return Ok(found.clone());
        }
        let mountinfo = file::read_as(file::Shown::ByRecord, Path::new("/proc/self/mountinfo"))?;
        let layout = match mount::find(&mountinfo).ok_or(Error::NotMounted)? {
            mount::Mounts::V1(layout) => Layout::V1(layout),
            mount::Mounts::V2(root) => Layout::V2(v2::Layout::new(root)?),
        };
        Ok(FOUND.get_or_init(|| Self(Arc::new(layout))).clone())
    }

    /// Which version the controllers are on.
    pub fn version(&self) -> Version {
        match *self.0 {
            Layout::V1(_) => Version::V1,
            Layout::V2(_) => Version::V2,
        }
    }

    /// Makes the cgroup `path` and its parents and applies `limits`. One that exists already is used.
    ///
    /// With a path of [`Driver::Systemd`] systemd is asked for it: then the handle has to be kept until a process is in
    /// the cgroup, since an empty scope ends.
    ///
    /// # Errors
    /// A path that [`validate_path`] refuses, and limits that the kernel does not take: then nothing is left of it.
    pub fn create(&self, path: &str, limits: &Limits) -> Result<Cgroup, Error> {
        validate_path(path)?;
        let mut cgroup = self.open(path);
        cgroup.create(limits).inspect_err(|_| cgroup.abandon())?;
        Ok(cgroup)
    }

    /// A handle on `path`, which need not exist. Parts that lead elsewhere (`..`) are left out.
    pub fn open(&self, path: &str) -> Cgroup {
        let names = Path::new(path).components().filter(|part| matches!(part, Component::Normal(_)));
        Cgroup::new(self.clone(), names.collect::<PathBuf>())
    }
}

/// Says that `path` is an absolute, clean cgroup path: `/kubepods/pod1/berth-1`.
pub fn validate_path(path: &str) -> Result<(), Error> {
    let is_name = |name: &str| {
        !matches!(name, "" | "." | "..") && name.len() <= LONGEST_NAME && !name.contains(|c: char| c.is_control())
    };
    match path.strip_prefix('/') {
        Some(names) if path.len() <= LONGEST_PATH && names.split('/').all(is_name) => Ok(()),
        _ => Err(Error::InvalidPath(path.chars().take(LONGEST_NAME).collect())),
    }
}

#[cfg(test)]
mod tests;
