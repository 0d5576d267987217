//! What an engine has on the host, as its host sees it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use nix::{
    mount::{MntFlags, umount2},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{daemon::slice, patience};

/// Directories of what comes and goes with pods, containers and pulls.
const TRANSIENT: &[&str] =
    &["run/pods", "root/containers", "root/containers/.trash", "root/image/ingest", "root/image/trash"];

/// Everything of an engine that must be gone when it has no pods and has ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Leftovers {
    /// Mount points, those that pin namespaces too.
    pub(crate) mounts: Vec<PathBuf>,
    /// Processes: id and command line.
    pub(crate) processes: Vec<(i32, String)>,
    /// Cgroups, but for the parents that requests name: those are the caller's, as with kubelet.
    pub(crate) cgroups: Vec<PathBuf>,
    /// Network links beside the loopback.
    pub(crate) links: Vec<String>,
    /// What the firewall has more than it had before the first pod.
    pub(crate) rules: Vec<String>,
    /// Files that belong to pods and containers.
    pub(crate) files: Vec<PathBuf>,
}

impl Leftovers {
    /// Looks everywhere. `rules` is what the firewall had before.
    pub(crate) fn find(directory: &Path, mark: &str, rules: &str) -> Self {
        Self {
            mounts: mounts_below(directory),
            processes: processes(directory, mark),
            cgroups: own_cgroups(mark)
                .iter()
                .flat_map(|own| directories_below(own))
                .filter(|path| !is_callers(path, mark))
                .collect(),
            links: links(),
            rules: Self::rules().lines().filter(|line| !rules.contains(line)).map(str::to_owned).collect(),
            files: files(directory),
        }
    }

    /// The firewall's rules in this network namespace; nothing where there is no `nft` to ask.
    pub(crate) fn rules() -> String {
        let output = Command::new("nft").args(["list", "ruleset"]).output();
        output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
    }

    /// Nothing is left.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Waits a while for transient files to go.
    pub(crate) fn wait_for_files(directory: &Path) {
        let started = Instant::now();
        while !files(directory).is_empty() && started.elapsed() < patience(5) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Gives the kernel a while: it takes links and cgroups away after the engine has ended its part.
    pub(crate) fn settle(mut self, directory: &Path, mark: &str, rules: &str) -> Self {
        let started = Instant::now();
        while !self.is_empty() && started.elapsed() < patience(5) {
            std::thread::sleep(Duration::from_millis(20));
            self = Self::find(directory, mark, rules);
        }
        self
    }

    /// Takes away what a failed test left, as well as it can.
    pub(crate) fn sweep(&self, directory: &Path, mark: &str) {
        for (pid, _) in &self.processes {
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(100));
        for mount in mounts_below(directory).iter().rev() {
            let _ = umount2(mount, MntFlags::MNT_DETACH);
        }
        for own in own_cgroups(mark) {
            for cgroup in directories_below(&own).iter().rev() {
                let _ = fs::remove_dir(cgroup);
            }
        }
        self.remove_own_cgroup(mark);
    }

    /// Removes the cgroups that the test's pods were put under.
    pub(crate) fn remove_own_cgroup(&self, mark: &str) {
        for own in own_cgroups(mark) {
            for parent in entries(&own).iter().filter(|path| is_callers(path, mark)) {
                let _ = fs::remove_dir(parent);
            }
            let _ = fs::remove_dir(own);
        }
    }
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let found = TRANSIENT.iter().flat_map(|name| entries(&directory.join(name)));
    // The place of what is being deleted stays, empty.
    found.filter(|path| !path.ends_with("containers/.trash")).collect()
}

fn mounts_below(directory: &Path) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/thread-self/mountinfo").expect("read the mount table");
    let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    points.filter(|point| point.starts_with(directory)).collect()
}

/// Processes that have the mark in their environment (the engine's), a log in the directory (monitors), or are in a cgroup
/// of that name (containers').
fn processes(directory: &Path, mark: &str) -> Vec<(i32, String)> {
    let mut found = Vec::new();
    for entry in entries(Path::new("/proc")) {
        let Some(pid) = entry.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok()) else {
            continue;
        };
        // Environments and command lines have NULs between their words.
        let text = |name| String::from_utf8_lossy(&fs::read(entry.join(name)).unwrap_or_default()).replace('\0', " ");
        let is_engine = text("environ").contains(&format!("BERTH_TEST_MARK={mark} "));
        let is_monitor = fs::read_link(entry.join("fd/2")).is_ok_and(|log| log.starts_with(directory.join("run")));
        let is_inside = own_names(mark).iter().any(|name| text("cgroup").contains(&format!("/{name}")));
        if (is_engine || is_monitor || is_inside) && !text("stat").contains(") Z ") {
            found.push((pid, text("cmdline")));
        }
    }
    found
}

/// What the cgroup for `mark` is called: by the engine, or by systemd.
fn own_names(mark: &str) -> [String; 2] {
    [mark.to_owned(), format!("{}.slice", slice(mark))]
}

/// The cgroup for `mark`, in each hierarchy that has it.
fn own_cgroups(mark: &str) -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = std::iter::once(root.to_owned()).chain(entries(root));
    let named = |hierarchy: PathBuf| own_names(mark).map(|name| hierarchy.join(name));
    hierarchies.flat_map(named).filter(|path| path.is_dir()).collect()
}

/// Whether a request named this cgroup: one that the engine made has an id in its name.
fn is_callers(cgroup: &Path, mark: &str) -> bool {
    let name = cgroup.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let has_id = name.split(['-', ':', '.']).any(|part| part.len() == 64);
    cgroup.parent().is_some_and(|parent| own_names(mark).iter().any(|name| parent.ends_with(name))) && !has_id
}

/// All directories below one, parents first.
fn directories_below(directory: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = entries(directory).into_iter().filter(|path| path.is_dir()).collect();
    let mut next = 0;
    while let Some(path) = found.get(next) {
        let below: Vec<PathBuf> = entries(path).into_iter().filter(|path| path.is_dir()).collect();
        found.extend(below);
        next += 1;
    }
    found
}

fn links() -> Vec<String> {
    let table = fs::read_to_string("/proc/thread-self/net/dev").expect("read the links");
    let names = table.lines().skip(2).filter_map(|line| line.split(':').next());
    names.map(|name| name.trim().to_owned()).filter(|name| name != "lo").collect()
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect()
}
