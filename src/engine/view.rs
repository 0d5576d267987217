//! What the engine tells of its pods and containers: plain snapshots for the front doors.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf, sync::Arc};

use crate::types::{ContainerConfig, Digest, ExitStatus, Id, PodConfig, Resources, Signal, Timestamp};

/// Whether a pod can hold running containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodState {
    /// Its namespaces and network are there.
    Ready,
    /// It was stopped, or its monitor is gone.
    NotReady,
}

/// One pod at one moment.
#[derive(Debug, Clone)]
pub struct PodView {
    /// Its id.
    pub id: Id,
    /// What it was made from.
    pub config: Arc<PodConfig>,
    /// Ready or not.
    pub state: PodState,
    /// When it was created.
    pub created_at: Timestamp,
    /// Its addresses, the primary first; none with the host's network.
    pub ips: Vec<IpAddr>,
    /// The monitor's process id, while there is one.
    pub monitor_pid: Option<i32>,
    /// The pinned network namespace, when the pod has an own one.
    pub netns: Option<PathBuf>,
    /// The pod's cgroup.
    pub cgroup: String,
}

/// Where a container is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerState {
    /// Made, not started.
    Created,
    /// Its main process runs.
    Running,
    /// Its main process ended, or could not be started.
    Exited,
    /// Its state is not known.
    Unknown,
}

/// One container at one moment.
#[derive(Debug, Clone)]
pub struct ContainerView {
    /// Its id.
    pub id: Id,
    /// The pod it belongs to.
    pub pod_id: Id,
    /// What it was made from; its `resources` are those at creation.
    pub config: Arc<ContainerConfig>,
    /// Where it is in its life.
    pub state: ContainerState,
    /// When it was created.
    pub created_at: Timestamp,
    /// When its main process started.
    pub started_at: Option<Timestamp>,
    /// How it ended.
    pub exit: Option<ExitStatus>,
    /// The image's id.
    pub image_id: Digest,
    /// The image's first `repo@digest`, or its id.
    pub image_ref: String,
    /// The image's first tag, or what the caller gave.
    pub image_name: String,
    /// The absolute path of its log, when it has one.
    pub log_path: Option<PathBuf>,
    /// The ids its main process runs with; known once it has started.
    pub user: Option<User>,
    /// The limits in force.
    pub resources: Resources,
    /// Its main process, while it runs.
    pub pid: Option<i32>,
    /// The signal that stops it.
    pub stop_signal: Signal,
    /// Its cgroup.
    pub cgroup: String,
}

/// User and group ids of a container's main process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary group ids.
    pub groups: Vec<u32>,
}

/// Which pods a list shows; an empty filter shows all.
#[derive(Debug, Clone, Default)]
pub struct PodFilter {
    /// An id or the beginning of one.
    pub id: Option<String>,
    /// Only pods in this state.
    pub state: Option<PodState>,
    /// Only pods that carry all of these labels.
    pub labels: BTreeMap<String, String>,
}

/// Which containers a list shows; an empty filter shows all.
#[derive(Debug, Clone, Default)]
pub struct ContainerFilter {
    /// An id or the beginning of one.
    pub id: Option<String>,
    /// Only containers of the pod with this id or beginning of an id.
    pub pod_id: Option<String>,
    /// Only containers in this state.
    pub state: Option<ContainerState>,
    /// Only containers that carry all of these labels.
    pub labels: BTreeMap<String, String>,
}

/// What a command that ran in a container left.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecOutput {
    /// Standard output, at most 16 MiB; the rest was read and dropped.
    pub stdout: Vec<u8>,
    /// Standard error, likewise.
    pub stderr: Vec<u8>,
    /// Exit code, or 128 + the signal's number.
    pub code: i32,
}

/// A life-cycle event of a pod or a container, with the states that it led to.
#[derive(Debug, Clone)]
pub struct Event {
    /// The container, or the pod itself for its own events.
    pub subject: Id,
    /// What happened.
    pub kind: EventKind,
    /// When; later than any event before it.
    pub at: Timestamp,
    /// The pod; for its own removal, as it was last.
    pub pod: PodView,
    /// The pod's containers; one that was removed is not among them.
    pub containers: Vec<ContainerView>,
}

/// What happened to a pod or a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// It was created.
    Created,
    /// It started, or a pod became ready.
    Started,
    /// It ended, or a pod was stopped.
    Stopped,
    /// It was removed.
    Deleted,
}

/// Usage of one container at one moment.
#[derive(Debug, Clone)]
pub struct ContainerUsage {
    /// The container.
    pub container: ContainerView,
    /// When it was measured.
    pub at: Timestamp,
    /// Its cgroup's counters.
    pub cgroup: crate::runtime::cgroup::Stats,
    /// CPU time it used a second since it was measured before, ns.
    pub cpu_rate: Option<u64>,
    /// Its writable layer.
    pub writable_layer: crate::types::FilesystemUsage,
}

/// Usage of one pod at one moment.
#[derive(Debug, Clone)]
pub struct PodUsage {
    /// The pod.
    pub pod: PodView,
    /// When it was measured.
    pub at: Timestamp,
    /// Its cgroup's counters.
    pub cgroup: crate::runtime::cgroup::Stats,
    /// CPU time it used a second since it was measured before, ns.
    pub cpu_rate: Option<u64>,
    /// Its processes and threads; `None` where the kernel does not count them.
    pub tasks: Option<u64>,
    /// Its network interfaces; empty with the host's network.
    pub interfaces: Vec<crate::network::InterfaceUsage>,
    /// Its running containers.
    pub containers: Vec<ContainerUsage>,
}

/// All that is told of the pods at one moment.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// The ready pods.
    pub pods: Vec<PodMetrics>,
    /// The file system that the containers' writable layers are on.
    pub writable_layers: Option<crate::types::FilesystemSpace>,
}

/// All that is told of one pod.
#[derive(Debug, Clone)]
pub struct PodMetrics {
    /// The pod.
    pub pod: PodView,
    /// Its cgroup; `None` while there is none, since the caller's comes with the first container.
    pub cgroup: Option<crate::runtime::cgroup::Metrics>,
    /// Its network interfaces; empty with the host's network.
    pub interfaces: Vec<crate::network::InterfaceUsage>,
    /// Its running containers.
    pub containers: Vec<ContainerMetrics>,
}

/// All that is told of one container.
#[derive(Debug, Clone)]
pub struct ContainerMetrics {
    /// The container.
    pub container: ContainerView,
    /// Its cgroup.
    pub cgroup: crate::runtime::cgroup::Metrics,
    /// What its processes hold open.
    pub holdings: crate::runtime::processes::Holdings,
    /// How many files its main process may have open.
    pub soft_limit_of_files: Option<u64>,
    /// Its writable layer, as it was when it was last measured.
    pub writable_layer: crate::types::FilesystemUsage,
}
