//! What a daemon takes of its host.

use std::{fmt, fs, path::Path};

use super::Daemon;

/// How much the daemon has of each thing that could leak.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Footprint {
    /// Memory of the daemon's process that is nobody else's, KiB.
    memory: u64,
    descriptors: u64,
    threads: u64,
    /// Processes beside the daemon: the spawner and monitors.
    processes: u64,
    /// Pinned namespaces are mounts, too.
    mounts: u64,
    cgroups: u64,
    links: u64,
    /// Lines of the firewall's rules.
    rules: u64,
    leases: u64,
    /// Files of pods and containers, waste too.
    files: u64,
    /// The engine's root directory without the database, KiB.
    disk: u64,
    /// The state database, KiB.
    database: u64,
}

/// What may be more in the end than it was: pools and allocators keep some, the kernel and the engine free some late.
const ALLOWANCE: &[(&str, u64)] = &[("descriptors", 8), ("threads", 40), ("disk, KiB", 64), ("database, KiB", 1024)];

const MEMORY: &str = "memory, KiB";
/// More memory that allocators may keep, KiB.
pub(crate) const KEPT_MEMORY: u64 = 6 * 1024;

impl Footprint {
    pub(crate) fn of(daemon: &Daemon) -> Self {
        let process = Path::new("/proc").join(daemon.pid().to_string());
        let left = daemon.leftovers();
        let database = daemon.path("root/state.redb");
        let database = fs::metadata(database).expect("the state database").len() / 1024;
        Self {
            memory: memory(daemon.pid()),
            descriptors: descriptors(daemon.pid()),
            threads: count(&process.join("task")),
            processes: left.processes.len() as u64,
            mounts: left.mounts.len() as u64,
            cgroups: left.cgroups.len() as u64,
            links: left.links.len() as u64,
            rules: left.rules.len() as u64,
            leases: count(&daemon.path("run/network/leases")),
            files: left.files.len() as u64,
            disk: size(&daemon.path("root")).saturating_sub(database),
            database,
        }
    }

    fn rows(&self) -> [(&'static str, u64); 12] {
        [
            (MEMORY, self.memory),
            ("descriptors", self.descriptors),
            ("threads", self.threads),
            ("processes", self.processes),
            ("mounts", self.mounts),
            ("cgroups", self.cgroups),
            ("links", self.links),
            ("rules", self.rules),
            ("leases", self.leases),
            ("files", self.files),
            ("disk, KiB", self.disk),
            ("database, KiB", self.database),
        ]
    }

    /// The names of what there is more of than before, by more than it may be; memory by `kept_memory` KiB.
    pub(crate) fn excess(&self, before: &Self, kept_memory: u64) -> Vec<&'static str> {
        let pairs = self.rows().into_iter().zip(before.rows());
        let is_excess = |((name, now), (_, then)): &((&str, u64), (&str, u64))| {
            let listed = || ALLOWANCE.iter().find(|(allowed, _)| allowed == name).map_or(0, |(_, more)| *more);
            let allowed = if *name == MEMORY { kept_memory } else { listed() };
            *now > then + allowed
        };
        pairs.filter(is_excess).map(|((name, _), _)| name).collect()
    }
}

impl fmt::Display for Footprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cells = self.rows().map(|(name, value)| format!("{name}: {value}"));
        f.write_str(&cells.join("; "))
    }
}

/// Memory of a process that is not a file's, KiB.
pub(crate) fn memory(process: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("the process's status");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("its memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// How many descriptors a process has open.
pub(crate) fn descriptors(process: i32) -> u64 {
    count(&Path::new("/proc").join(process.to_string()).join("fd"))
}

fn count(directory: &Path) -> u64 {
    fs::read_dir(directory).map_or(0, |entries| entries.count() as u64)
}

/// What all files below a directory take on disk, KiB.
fn size(directory: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    let of_one = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => metadata.blocks() / 2 + size(&entry.path()),
        // Each name of a file counts for its share of it.
        Ok(metadata) => metadata.blocks() / 2 / metadata.nlink(),
        Err(_) => 0,
    };
    entries.flatten().map(of_one).sum()
}
