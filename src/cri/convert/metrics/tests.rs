use std::collections::{HashMap, HashSet};

use super::*;
use crate::{
    engine::{ContainerView, PodState},
    runtime::{cgroup::Cpu, processes::Holdings},
    types::{
        ContainerConfig, ContainerMetadata, Digest, FilesystemUsage, Id, PodConfig, PodMetadata, Signal, Timestamp,
    },
};

fn pressure(some: u64, full: u64) -> Option<Pressure> {
    let stall = |seconds| cgroup::Stall { total_ns: seconds * 1_000_000_000, ..Default::default() };
    Some(Pressure { some: stall(some), full: stall(full) })
}

fn cgroup_metrics() -> cgroup::Metrics {
    cgroup::Metrics {
        stats: Stats {
            at: Timestamp(9_000_000_000),
            cpu: Some(Cpu { usage_ns: 7_900_000_000, pressure: pressure(2, 1) }),
            memory: Some(Memory { usage: 100, working_set: 60, page_faults: 5, swap: Some(3), ..Default::default() }),
            io: None,
        },
        tasks: Some(4),
        limits: Resources { cpu_quota: 50_000, cpu_period: 100_000, memory_limit: -1, ..Default::default() },
        throttling: Some(Throttling { periods: 11, throttled_ns: 2_500_000_000, ..Default::default() }),
        devices: vec![DeviceIo {
            number: (254, 0),
            name: "/dev/vda".to_owned(),
            read_bytes: 4096,
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn pod_view() -> PodView {
    let metadata = PodMetadata { name: "web".to_owned(), namespace: "shop".to_owned(), ..Default::default() };
    PodView {
        id: Id::from_bytes([1; 32]),
        config: PodConfig { metadata, ..Default::default() }.into(),
        state: PodState::Ready,
        created_at: Timestamp(3_000_000_000),
        ips: Vec::new(),
        monitor_pid: None,
        netns: None,
        cgroup: "/kubepods/podX".to_owned(),
    }
}

fn container_view() -> ContainerView {
    let metadata = ContainerMetadata { name: "server".to_owned(), attempt: 0 };
    ContainerView {
        id: Id::from_bytes([2; 32]),
        pod_id: Id::from_bytes([1; 32]),
        config: ContainerConfig { metadata, ..Default::default() }.into(),
        state: crate::engine::ContainerState::Running,
        created_at: Timestamp(4_000_000_000),
        started_at: Some(Timestamp(5_000_000_000)),
        exit: None,
        image_id: Digest::of(b"i"),
        image_ref: String::new(),
        image_name: "registry.example/nginx:1".to_owned(),
        log_path: None,
        user: None,
        resources: Resources::default(),
        pid: Some(7),
        stop_signal: Signal::TERM,
        cgroup: "/kubepods/podX/c".to_owned(),
    }
}

fn metrics() -> Metrics {
    let writable_layer =
        FilesystemUsage { at: Timestamp(8), mountpoint: "/var".into(), used_bytes: 4096, inodes_used: 2 };
    let container = ContainerMetrics {
        container: container_view(),
        cgroup: cgroup_metrics(),
        holdings: Holdings { processes: 2, descriptors: 9, sockets: 1 },
        soft_limit_of_files: Some(1024),
        writable_layer,
    };
    let pod = PodMetrics {
        pod: pod_view(),
        cgroup: Some(cgroup_metrics()),
        interfaces: vec![InterfaceUsage { name: "eth0".to_owned(), rx_packets: 6, ..Default::default() }],
        containers: vec![container],
    };
    let space = FilesystemSpace { device: "/dev/vda".to_owned(), bytes: 1 << 30, inodes: 100, inodes_free: 90 };
    Metrics { pods: vec![pod], writable_layers: Some(space) }
}

/// Of one family, the values by the last label.
fn values(samples: &[wire::Metric], family: &Family) -> HashMap<String, u64> {
    let of_family = samples.iter().filter(|sample| sample.name == family.name);
    of_family
        .map(|sample| {
            let value = sample.value.as_ref().map_or(0, |value| value.value);
            (sample.label_values.last().cloned().unwrap_or_default(), value)
        })
        .collect()
}

fn value(samples: &[wire::Metric], family: &Family) -> Option<u64> {
    values(samples, family).into_values().next()
}

#[test]
fn every_sample_is_described_and_none_is_told_twice() {
    let described: HashMap<_, _> = descriptors_to_wire().into_iter().map(|it| (it.name.clone(), it)).collect();
    assert_eq!(described.len(), ALL.len(), "two families have one name");
    let wire = to_wire(&metrics());
    let all: Vec<_> = wire[0].metrics.iter().chain(&wire[0].container_metrics[0].metrics).collect();
    let mut told = HashSet::new();
    for sample in all {
        let descriptor = described.get(&sample.name).unwrap_or_else(|| panic!("{} is not described", sample.name));
        assert_eq!(sample.label_values.len(), descriptor.label_keys.len(), "{sample:?}");
        assert!(told.insert((&sample.name, &sample.label_values)), "twice: {sample:?}");
        let is_counter = sample.metric_type() == wire::MetricType::Counter;
        let is_named_so = sample.name.ends_with("_total") && sample.name != FS_INODES.name;
        assert_eq!(is_counter, is_named_so || sample.name == MEMORY_FAILCNT.name, "{sample:?}");
    }
}

#[test]
fn labels_are_in_the_order_of_their_keys() {
    let wire = to_wire(&metrics());
    let [pod] = &wire[..] else { panic!("one pod") };
    let [container] = &pod.container_metrics[..] else { panic!("one container") };
    assert_eq!(CPU_USAGE.to_wire().label_keys, ["id", "name", "image", "namespace", "pod", "container", "cpu"]);
    let labels = |samples: &[wire::Metric]| {
        let sample = samples.iter().find(|sample| sample.name == CPU_USAGE.name).expect("a sample");
        sample.label_values.clone()
    };
    assert_eq!(labels(&pod.metrics), ["/kubepods/podX", "", "", "shop", "web", "", "total"]);
    let id = container.container_id.as_str();
    let expected = ["/kubepods/podX/c", id, "registry.example/nginx:1", "shop", "web", "server", "total"];
    assert_eq!(labels(&container.metrics), expected);
    assert_eq!(pod.pod_sandbox_id, pod_view().id.to_string());
}

#[test]
fn values_are_in_the_units_of_their_names() {
    let wire = to_wire(&metrics());
    let (pod, container) = (&wire[0].metrics, &wire[0].container_metrics[0].metrics);
    assert_eq!(value(container, &CPU_USAGE), Some(7), "whole seconds");
    assert_eq!((value(container, &CPU_PERIODS), value(container, &CPU_THROTTLED)), (Some(11), Some(2)));
    assert_eq!((value(container, &LAST_SEEN), value(container, &START_TIME)), (Some(9), Some(5)));
    assert_eq!((value(pod, &START_TIME), value(pod, &NETWORK_RX_PACKETS)), (Some(3), Some(6)));
    assert_eq!((value(container, &PRESSURE_CPU_STALLED), value(container, &PRESSURE_CPU_WAITING)), (Some(1), Some(2)));
    assert_eq!((value(container, &SPEC_CPU_QUOTA), value(container, &SPEC_MEMORY_LIMIT)), (Some(50_000), Some(0)));
    assert_eq!((value(container, &THREADS), value(container, &THREADS_MAX)), (Some(4), Some(0)));
    assert_eq!((value(container, &PROCESSES), value(container, &SOCKETS)), (Some(2), Some(1)));
    assert_eq!((value(container, &FS_USAGE), value(container, &FS_INODES_FREE)), (Some(4096), Some(90)));
    assert_eq!(values(container, &DEVICE_USAGE)["Read"], 4096);
    assert_eq!(values(container, &MEMORY_FAILURES).len(), 2, "of the container and of all below");
    assert_eq!(values(pod, &MEMORY_FAILURES).into_keys().collect::<Vec<_>>(), ["hierarchy"]);
}

#[test]
fn what_the_kernel_does_not_tell_is_left_out() {
    let mut metrics = metrics();
    let container = &mut metrics.pods[0].containers[0];
    container.cgroup =
        cgroup::Metrics { stats: Stats { at: Timestamp(9), ..Default::default() }, ..Default::default() };
    metrics.pods[0].cgroup = None;
    metrics.writable_layers = None;
    let wire = to_wire(&metrics);
    let names: HashSet<_> = wire[0].container_metrics[0].metrics.iter().map(|sample| sample.name.as_str()).collect();
    for family in [&CPU_USAGE, &CPU_PERIODS, &MEMORY_USAGE, &OOM_EVENTS, &THREADS, &THREADS_MAX, &FS_USAGE] {
        assert!(!names.contains(family.name), "{} is made up", family.name);
    }
    assert!(!names.iter().any(|name| name.contains("_spec_") || name.contains("_pressure_")), "{names:?}");
    assert_eq!(value(&wire[0].metrics, &CPU_USAGE), None);
    assert_eq!(value(&wire[0].metrics, &NETWORK_RX_PACKETS), Some(6));
}

#[test]
fn only_what_was_measured_earlier_has_a_time() {
    let wire = to_wire(&metrics());
    for sample in &wire[0].container_metrics[0].metrics {
        let expected = if sample.name == FS_USAGE.name { 8 } else { 0 };
        assert_eq!(sample.timestamp, expected, "{sample:?}");
    }
}
