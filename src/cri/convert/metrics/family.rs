//! The families of metrics: those of cAdvisor that kubelet shows on `/metrics/cadvisor`, under the same names, with the
//! same labels.

use crate::wire::{self, MetricType};

/// Labels that every sample has, before those of its family.
///
/// As with cAdvisor, `id` is the path of the cgroup and `name` the id of the container. What is told of a pod as a whole
/// has no `name`, `image` and `container`: by that, sums over containers leave it out.
pub(super) const COMMON: [&str; 6] = ["id", "name", "image", "namespace", "pod", "container"];

/// What is known of a family before there are samples of it.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) kind: MetricType,
    /// Labels beside [`COMMON`].
    pub(super) labels: &'static [&'static str],
}

impl Family {
    pub(super) fn to_wire(&self) -> wire::MetricDescriptor {
        wire::MetricDescriptor {
            name: self.name.to_owned(),
            help: self.help.to_owned(),
            label_keys: COMMON.iter().chain(self.labels).map(|&label| label.to_owned()).collect(),
        }
    }
}

/// Names the families and lists them in [`ALL`].
macro_rules! families {
    ($($constant:ident = $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(
            pub(super) const $constant: Family =
                Family { name: $name, help: $help, kind: MetricType::$kind, labels: &[$($label),*] };
        )*
        /// All of them.
        pub(super) const ALL: &[&Family] = &[$(&$constant),*];
    };
}

families! {
    LAST_SEEN = Gauge "container_last_seen" [] "When it was measured, seconds since the epoch.";
    START_TIME = Gauge "container_start_time_seconds" [] "When it started, seconds since the epoch.";

    CPU_USER = Counter "container_cpu_user_seconds_total" [] "CPU time spent in programs, seconds.";
    CPU_SYSTEM = Counter "container_cpu_system_seconds_total" [] "CPU time spent in the kernel, seconds.";
    CPU_USAGE = Counter "container_cpu_usage_seconds_total" ["cpu"] "CPU time, seconds.";
    CPU_PERIODS = Counter "container_cpu_cfs_periods_total" [] "Periods of the CPU quota that have passed.";
    CPU_THROTTLED_PERIODS = Counter "container_cpu_cfs_throttled_periods_total" []
        "Periods in which the CPU quota was used up.";
    CPU_THROTTLED = Counter "container_cpu_cfs_throttled_seconds_total" []
        "Time spent waiting for the CPU quota, seconds.";
    CPU_BURST_PERIODS = Counter "container_cpu_cfs_burst_periods_total" []
        "Periods in which more than the CPU quota was used.";
    CPU_BURST = Counter "container_cpu_cfs_burst_seconds_total" [] "CPU time beyond the quota, seconds.";

    MEMORY_USAGE = Gauge "container_memory_usage_bytes" [] "Memory in use, page cache included, bytes.";
    MEMORY_WORKING_SET = Gauge "container_memory_working_set_bytes" []
        "Memory in use without page cache that was not used lately, bytes.";
    MEMORY_MAX_USAGE = Gauge "container_memory_max_usage_bytes" [] "The most memory that was in use, bytes.";
    MEMORY_RSS = Gauge "container_memory_rss" [] "Anonymous memory, bytes.";
    MEMORY_CACHE = Gauge "container_memory_cache" [] "Page cache, bytes.";
    MEMORY_ACTIVE_FILE = Gauge "container_memory_total_active_file_bytes" []
        "Page cache that was used lately, bytes.";
    MEMORY_INACTIVE_FILE = Gauge "container_memory_total_inactive_file_bytes" []
        "Page cache that was not used lately, bytes.";
    MEMORY_MAPPED_FILE = Gauge "container_memory_mapped_file" [] "Files mapped into memory, bytes.";
    MEMORY_KERNEL = Gauge "container_memory_kernel_usage" [] "Memory in use by the kernel, bytes.";
    MEMORY_SWAP = Gauge "container_memory_swap" [] "Swap in use, bytes.";
    MEMORY_FAILCNT = Counter "container_memory_failcnt" [] "How often the memory limit was hit.";
    MEMORY_FAILURES = Counter "container_memory_failures_total" ["failure_type", "scope"]
        "Page faults: all (pgfault) and those that needed I/O (pgmajfault).";
    OOM_EVENTS = Counter "container_oom_events_total" [] "Processes that the kernel killed for memory.";

    FS_USAGE = Gauge "container_fs_usage_bytes" ["device"] "Space that the writable layer takes, bytes.";
    FS_LIMIT = Gauge "container_fs_limit_bytes" ["device"] "Size of the file system of the writable layer, bytes.";
    FS_INODES = Gauge "container_fs_inodes_total" ["device"] "Inodes of the file system of the writable layer.";
    FS_INODES_FREE = Gauge "container_fs_inodes_free" ["device"]
        "Free inodes of the file system of the writable layer.";
    FS_READS_BYTES = Counter "container_fs_reads_bytes_total" ["device"] "Bytes read from a device.";
    FS_READS = Counter "container_fs_reads_total" ["device"] "Read operations on a device.";
    FS_WRITES_BYTES = Counter "container_fs_writes_bytes_total" ["device"] "Bytes written to a device.";
    FS_WRITES = Counter "container_fs_writes_total" ["device"] "Write operations on a device.";
    DEVICE_USAGE = Counter "container_blkio_device_usage_total" ["device", "major", "minor", "operation"]
        "Bytes that went to or came from a device, by kind of operation.";

    NETWORK_RX_BYTES = Counter "container_network_receive_bytes_total" ["interface"] "Bytes received.";
    NETWORK_RX_PACKETS = Counter "container_network_receive_packets_total" ["interface"] "Packets received.";
    NETWORK_RX_DROPPED = Counter "container_network_receive_packets_dropped_total" ["interface"]
        "Packets dropped while receiving.";
    NETWORK_RX_ERRORS = Counter "container_network_receive_errors_total" ["interface"] "Errors while receiving.";
    NETWORK_TX_BYTES = Counter "container_network_transmit_bytes_total" ["interface"] "Bytes sent.";
    NETWORK_TX_PACKETS = Counter "container_network_transmit_packets_total" ["interface"] "Packets sent.";
    NETWORK_TX_DROPPED = Counter "container_network_transmit_packets_dropped_total" ["interface"]
        "Packets dropped while sending.";
    NETWORK_TX_ERRORS = Counter "container_network_transmit_errors_total" ["interface"] "Errors while sending.";

    PROCESSES = Gauge "container_processes" [] "Processes.";
    THREADS = Gauge "container_threads" [] "Threads.";
    THREADS_MAX = Gauge "container_threads_max" [] "Most threads allowed; 0 for no limit.";
    FILE_DESCRIPTORS = Gauge "container_file_descriptors" [] "Open file descriptors.";
    SOCKETS = Gauge "container_sockets" [] "Open sockets.";
    ULIMITS_SOFT = Gauge "container_ulimits_soft" ["ulimit"] "Soft limits of the main process.";

    SPEC_CPU_PERIOD = Gauge "container_spec_cpu_period" [] "Period of the CPU quota, microseconds.";
    SPEC_CPU_QUOTA = Gauge "container_spec_cpu_quota" [] "CPU quota, microseconds a period.";
    SPEC_CPU_SHARES = Gauge "container_spec_cpu_shares" [] "CPU shares.";
    SPEC_MEMORY_LIMIT = Gauge "container_spec_memory_limit_bytes" [] "Memory limit, bytes; 0 for none.";
    SPEC_MEMORY_SWAP_LIMIT = Gauge "container_spec_memory_swap_limit_bytes" []
        "Limit of memory and swap together, bytes; 0 for none.";
    SPEC_MEMORY_RESERVATION = Gauge "container_spec_memory_reservation_limit_bytes" []
        "Memory that reclaim spares, bytes; 0 for none.";

    PRESSURE_CPU_STALLED = Counter "container_pressure_cpu_stalled_seconds_total" []
        "Time in which no task got on for want of CPU, seconds.";
    PRESSURE_CPU_WAITING = Counter "container_pressure_cpu_waiting_seconds_total" []
        "Time in which a task waited for CPU, seconds.";
    PRESSURE_MEMORY_STALLED = Counter "container_pressure_memory_stalled_seconds_total" []
        "Time in which no task got on for want of memory, seconds.";
    PRESSURE_MEMORY_WAITING = Counter "container_pressure_memory_waiting_seconds_total" []
        "Time in which a task waited for memory, seconds.";
    PRESSURE_IO_STALLED = Counter "container_pressure_io_stalled_seconds_total" []
        "Time in which no task got on for want of I/O, seconds.";
    PRESSURE_IO_WAITING = Counter "container_pressure_io_waiting_seconds_total" []
        "Time in which a task waited for I/O, seconds.";
}
