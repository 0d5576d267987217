//! ListPodSandboxMetrics: what cAdvisor would tell, for a kubelet that asks the engine instead.

mod family;
mod samples;

use family::*;
use samples::Samples;

use crate::{
    engine::{ContainerMetrics, Metrics, PodMetrics, PodView},
    network::InterfaceUsage,
    runtime::cgroup::{self, DeviceIo, Memory, Pressure, Stats, Throttling},
    types::{FilesystemSpace, Resources},
    wire,
};

/// What there may be samples of.
pub(crate) fn descriptors_to_wire() -> Vec<wire::MetricDescriptor> {
    ALL.iter().map(|family| family.to_wire()).collect()
}

/// The samples of all pods.
pub(crate) fn to_wire(metrics: &Metrics) -> Vec<wire::PodSandboxMetrics> {
    metrics.pods.iter().map(|pod| pod_to_wire(pod, metrics.writable_layers.as_ref())).collect()
}

fn pod_to_wire(pod: &PodMetrics, layers: Option<&FilesystemSpace>) -> wire::PodSandboxMetrics {
    let PodView { config, id, cgroup, created_at, .. } = &pod.pod;
    let mut samples = Samples::of([cgroup, "", "", &config.metadata.namespace, &config.metadata.name, ""]);
    samples.add_time(&START_TIME, Some(*created_at));
    if let Some(cgroup) = &pod.cgroup {
        add_cgroup(&mut samples, cgroup);
    }
    pod.interfaces.iter().for_each(|link| add_interface(&mut samples, link));
    wire::PodSandboxMetrics {
        pod_sandbox_id: id.to_string(),
        metrics: samples.into_wire(),
        container_metrics: pod.containers.iter().map(|it| container_to_wire(it, &pod.pod, layers)).collect(),
    }
}

fn container_to_wire(
    metrics: &ContainerMetrics,
    pod: &PodView,
    layers: Option<&FilesystemSpace>,
) -> wire::ContainerMetrics {
    let container = &metrics.container;
    let mut samples = Samples::of([
        &container.cgroup,
        container.id.as_str(),
        &container.image_name,
        &pod.config.metadata.namespace,
        &pod.config.metadata.name,
        &container.config.metadata.name,
    ]);
    samples.add_time(&START_TIME, container.started_at);
    add_cgroup(&mut samples, &metrics.cgroup);
    if let Some(memory) = &metrics.cgroup.stats.memory {
        // A container's cgroup has none below it that are not the container's own.
        add_page_faults(&mut samples, memory, "container");
    }
    samples.add(&PROCESSES, &[], metrics.holdings.processes);
    samples.add(&FILE_DESCRIPTORS, &[], metrics.holdings.descriptors);
    samples.add(&SOCKETS, &[], metrics.holdings.sockets);
    samples.add(&ULIMITS_SOFT, &["max_open_files"], metrics.soft_limit_of_files);
    if let Some(space) = layers {
        let (used, device) = (&metrics.writable_layer, [space.device.as_str()]);
        samples.add_of(used.at, &FS_USAGE, &device, used.used_bytes);
        samples.add(&FS_LIMIT, &device, space.bytes);
        samples.add(&FS_INODES, &device, space.inodes);
        samples.add(&FS_INODES_FREE, &device, space.inodes_free);
    }
    wire::ContainerMetrics { container_id: container.id.to_string(), metrics: samples.into_wire() }
}

fn add_cgroup(samples: &mut Samples, metrics: &cgroup::Metrics) {
    samples.add_time(&LAST_SEEN, Some(metrics.stats.at));
    let cpu_ns = metrics.stats.cpu.as_ref().map(|cpu| cpu.usage_ns);
    samples.add_seconds(&CPU_USAGE, &["total"], cpu_ns);
    samples.add_seconds(&CPU_USER, &[], metrics.cpu_user_ns);
    samples.add_seconds(&CPU_SYSTEM, &[], metrics.cpu_system_ns);
    // Without a quota nothing is held back, and cAdvisor tells nothing.
    if let Some(throttling) = metrics.throttling.filter(|_| metrics.limits.cpu_quota > 0) {
        add_throttling(samples, &throttling);
    }
    if let Some(memory) = &metrics.stats.memory {
        add_memory(samples, memory);
    }
    samples.add(&MEMORY_MAX_USAGE, &[], metrics.memory_peak);
    samples.add(&MEMORY_KERNEL, &[], metrics.memory_kernel);
    samples.add(&MEMORY_FAILCNT, &[], metrics.memory_limit_hits);
    samples.add(&OOM_EVENTS, &[], metrics.oom_kills);
    samples.add(&THREADS, &[], metrics.tasks);
    samples.add(&THREADS_MAX, &[], metrics.tasks.map(|_| metrics.tasks_limit.unwrap_or(0)));
    add_limits(samples, &metrics.limits);
    samples.add(&SPEC_MEMORY_RESERVATION, &[], metrics.memory_reservation);
    metrics.devices.iter().for_each(|device| add_device(samples, device));
    add_pressures(samples, &metrics.stats);
}

fn add_throttling(samples: &mut Samples, throttling: &Throttling) {
    samples.add(&CPU_PERIODS, &[], throttling.periods);
    samples.add(&CPU_THROTTLED_PERIODS, &[], throttling.throttled_periods);
    samples.add_seconds(&CPU_THROTTLED, &[], throttling.throttled_ns);
    samples.add(&CPU_BURST_PERIODS, &[], throttling.burst_periods);
    samples.add_seconds(&CPU_BURST, &[], throttling.burst_ns);
}

fn add_memory(samples: &mut Samples, memory: &Memory) {
    samples.add(&MEMORY_USAGE, &[], memory.usage);
    samples.add(&MEMORY_WORKING_SET, &[], memory.working_set);
    samples.add(&MEMORY_RSS, &[], memory.rss);
    samples.add(&MEMORY_CACHE, &[], memory.cache);
    samples.add(&MEMORY_ACTIVE_FILE, &[], memory.active_file);
    samples.add(&MEMORY_INACTIVE_FILE, &[], memory.inactive_file);
    samples.add(&MEMORY_MAPPED_FILE, &[], memory.mapped_file);
    samples.add(&MEMORY_SWAP, &[], memory.swap);
    add_page_faults(samples, memory, "hierarchy");
}

fn add_page_faults(samples: &mut Samples, memory: &Memory, scope: &str) {
    samples.add(&MEMORY_FAILURES, &["pgfault", scope], memory.page_faults);
    samples.add(&MEMORY_FAILURES, &["pgmajfault", scope], memory.major_page_faults);
}

/// Limits as the kernel has them: 0 where the host lacks the controller, −1 for none.
fn add_limits(samples: &mut Samples, limits: &Resources) {
    let set = |value: i64| u64::try_from(value).ok().filter(|value| *value > 0);
    let or_none = |value: i64| (value != 0).then(|| u64::try_from(value).unwrap_or(0));
    samples.add(&SPEC_CPU_PERIOD, &[], set(limits.cpu_period));
    samples.add(&SPEC_CPU_QUOTA, &[], set(limits.cpu_quota));
    samples.add(&SPEC_CPU_SHARES, &[], set(limits.cpu_shares));
    samples.add(&SPEC_MEMORY_LIMIT, &[], or_none(limits.memory_limit));
    samples.add(&SPEC_MEMORY_SWAP_LIMIT, &[], or_none(limits.memory_swap_limit));
}

fn add_device(samples: &mut Samples, device: &DeviceIo) {
    let name = device.name.as_str();
    samples.add(&FS_READS_BYTES, &[name], device.read_bytes);
    samples.add(&FS_READS, &[name], device.reads);
    samples.add(&FS_WRITES_BYTES, &[name], device.written_bytes);
    samples.add(&FS_WRITES, &[name], device.writes);
    let (major, minor) = (device.number.0.to_string(), device.number.1.to_string());
    for (operation, bytes) in
        [("Read", device.read_bytes), ("Write", device.written_bytes), ("Discard", device.discarded_bytes)]
    {
        samples.add(&DEVICE_USAGE, &[name, &major, &minor, operation], bytes);
    }
}

fn add_interface(samples: &mut Samples, link: &InterfaceUsage) {
    for (family, value) in [
        (&NETWORK_RX_BYTES, link.rx_bytes),
        (&NETWORK_RX_PACKETS, link.rx_packets),
        (&NETWORK_RX_DROPPED, link.rx_dropped),
        (&NETWORK_RX_ERRORS, link.rx_errors),
        (&NETWORK_TX_BYTES, link.tx_bytes),
        (&NETWORK_TX_PACKETS, link.tx_packets),
        (&NETWORK_TX_DROPPED, link.tx_dropped),
        (&NETWORK_TX_ERRORS, link.tx_errors),
    ] {
        samples.add(family, &[&link.name], value);
    }
}

fn add_pressures(samples: &mut Samples, stats: &Stats) {
    let cpu = stats.cpu.as_ref().and_then(|cpu| cpu.pressure.as_ref());
    let memory = stats.memory.as_ref().and_then(|memory| memory.pressure.as_ref());
    let io = stats.io.as_ref().and_then(|io| io.pressure.as_ref());
    let mut add = |pressure: Option<&Pressure>, stalled, waiting| {
        samples.add_seconds(stalled, &[], pressure.map(|pressure| pressure.full.total_ns));
        samples.add_seconds(waiting, &[], pressure.map(|pressure| pressure.some.total_ns));
    };
    add(cpu, &PRESSURE_CPU_STALLED, &PRESSURE_CPU_WAITING);
    add(memory, &PRESSURE_MEMORY_STALLED, &PRESSURE_MEMORY_WAITING);
    add(io, &PRESSURE_IO_STALLED, &PRESSURE_IO_WAITING);
}

#[cfg(test)]
mod tests;
