//! What is measured and told: statistics, metrics, lists as streams, details.

use std::collections::{HashMap, HashSet};

use berth::wire::*;
use tokio_stream::StreamExt as _;

use crate::support::{Daemon, container, eventually, log_text, patience, pod, shell};

/// A pod with a container that is busy, writes a file of 1 MB, listens on a socket and has a child.
async fn busy(daemon: &Daemon) -> (String, String) {
    daemon.import_busybox().await;
    let config = pod(daemon, "busy");
    let pod = daemon.run_pod(&config).await;
    let script = "head -c 1000000 /dev/zero > /file; sleep 1000 & nc -l -p 7777 & echo up; while :; do :; done";
    let mut container = shell("main", script);
    container.linux.get_or_insert_default().resources = Some(LinuxContainerResources {
        memory_limit_in_bytes: 64 << 20,
        cpu_quota: 5_000,
        cpu_period: 100_000,
        ..Default::default()
    });
    let id = daemon.run(&pod, &container, &config).await;
    eventually("the container is up", async || log_text(&daemon.status(&id).await) == "up\n").await;
    (pod, id)
}

fn number(value: Option<&UInt64Value>) -> u64 {
    value.map_or(0, |value| value.value)
}

async fn pod_stats(daemon: &Daemon, pod: &str) -> LinuxPodSandboxStats {
    let request = PodSandboxStatsRequest { pod_sandbox_id: pod.to_owned() };
    let stats = daemon.runtime().pod_sandbox_stats(request).await.expect("stats").into_inner().stats;
    stats.and_then(|stats| stats.linux).expect("stats of a Linux pod")
}

#[tokio::test]
async fn statistics_of_a_pod_tell_of_all_that_it_uses() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let (pod, id) = busy(&daemon).await;
    eventually("CPU time is used", async || {
        let stats = pod_stats(&daemon, &pod).await;
        number(stats.cpu.expect("cpu").usage_core_nano_seconds.as_ref()) > 50_000_000
    })
    .await;
    eventually("the rate of a busy pod and its container is told", async || {
        let stats = pod_stats(&daemon, &pod).await;
        let of_containers = stats.containers.iter().map(|container| container.cpu.as_ref());
        of_containers
            .chain([stats.cpu.as_ref()])
            .all(|cpu| number(cpu.expect("cpu").usage_nano_cores.as_ref()) > 1_000_000)
    })
    .await;
    let stats = pod_stats(&daemon, &pod).await;
    let memory = stats.memory.expect("memory");
    assert!(memory.timestamp > 0 && number(memory.usage_bytes.as_ref()) > 0, "{memory:?}");
    let working_set = number(memory.working_set_bytes.as_ref());
    assert!(working_set > 0 && working_set <= number(memory.usage_bytes.as_ref()), "{memory:?}");
    assert!(number(memory.page_faults.as_ref()) > 0, "{memory:?}");
    assert!(number(stats.process.expect("processes").process_count.as_ref()) >= 3);
    let network = stats.network.expect("network");
    let link = network.default_interface.expect("the default link");
    assert_eq!(link.name, "eth0");
    assert!(network.timestamp > 0 && link.rx_bytes.is_some() && link.tx_errors.is_some(), "{link:?}");
    let [of_container] = &stats.containers[..] else { panic!("one container: {:?}", stats.containers) };
    assert_eq!(of_container.attributes.as_ref().map(|attributes| attributes.id.as_str()), Some(id.as_str()));

    let memory = of_container.memory.as_ref().expect("memory");
    let left = (64 << 20) - number(memory.working_set_bytes.as_ref());
    assert_eq!(number(memory.available_bytes.as_ref()), left, "what the limit leaves");
    let layer = of_container.writable_layer.as_ref().expect("a writable layer");
    assert!(number(layer.used_bytes.as_ref()) >= 1_000_000 && number(layer.inodes_used.as_ref()) >= 2, "{layer:?}");
    let mountpoint = &layer.fs_id.as_ref().expect("a file system").mountpoint;
    assert!(std::path::Path::new(mountpoint).is_dir(), "{mountpoint} is no directory");
}

#[tokio::test]
async fn pressure_is_told_where_the_kernel_tells_it() {
    requires!(Root);
    let told = std::path::Path::new("/proc/pressure/cpu").exists();
    let daemon = Daemon::start().await;
    let (pod, _) = busy(&daemon).await;
    // A twentieth of a CPU is allowed, a whole one wanted.
    let psi = async || pod_stats(&daemon, &pod).await.containers.remove(0).cpu.expect("cpu").psi;
    eventually("the quota stalls the container", async || {
        !told || psi().await.is_some_and(|psi| psi.some.is_some_and(|some| some.total > 1_000_000))
    })
    .await;
    let stats = pod_stats(&daemon, &pod).await;
    let of_container = &stats.containers[0];
    for (what, psi) in [
        ("pod's memory", stats.memory.and_then(|memory| memory.psi)),
        ("pod's I/O", stats.io.and_then(|io| io.psi)),
        ("container's memory", of_container.memory.and_then(|memory| memory.psi)),
        ("container's I/O", of_container.io.and_then(|io| io.psi)),
    ] {
        assert_eq!(psi.is_some_and(|psi| psi.some.is_some() && psi.full.is_some()), told, "{what}");
    }
}

#[tokio::test]
async fn swap_is_told_on_cgroup_v2() {
    requires!(Root, CgroupV2);
    let daemon = Daemon::start().await;
    let (pod, _) = busy(&daemon).await;
    let stats = pod_stats(&daemon, &pod).await;
    // A kernel without swap accounting has no such file.
    let accounted = std::fs::read_dir("/sys/fs/cgroup")
        .expect("cgroups")
        .flatten()
        .any(|entry| entry.path().join("memory.swap.current").exists());
    assert_eq!(stats.containers[0].swap.is_some(), accounted);
}

#[tokio::test]
async fn statistics_of_containers_are_filtered() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let config = pod(&daemon, "p");
    let pod = daemon.run_pod(&config).await;
    let mut ids = Vec::new();
    for name in ["a", "b"] {
        let mut container = container(name, &["sleep", "1000"]);
        container.labels.insert("app".to_owned(), name.to_owned());
        ids.push(daemon.run(&pod, &container, &config).await);
    }
    let labels = [("app".to_owned(), "b".to_owned())].into();
    for (filter, expected) in [
        (ContainerStatsFilter { label_selector: labels, ..Default::default() }, &ids[1..]),
        (ContainerStatsFilter { id: ids[0][..12].to_owned(), ..Default::default() }, &ids[..1]),
        (ContainerStatsFilter { pod_sandbox_id: pod.clone(), ..Default::default() }, &ids[..]),
        (ContainerStatsFilter { pod_sandbox_id: ids[0].clone(), ..Default::default() }, &[]),
    ] {
        let request = ListContainerStatsRequest { filter: Some(filter.clone()) };
        let stats = daemon.runtime().list_container_stats(request).await.expect("stats").into_inner().stats;
        let listed: HashSet<_> = stats.into_iter().map(|stats| stats.attributes.expect("attributes").id).collect();
        assert_eq!(listed, expected.iter().cloned().collect(), "{filter:?}");
    }
}

#[tokio::test]
async fn statistics_of_pods_are_listed_and_filtered() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let mut ids = Vec::new();
    for name in ["a", "b", "stopped"] {
        let mut config = pod(&daemon, name);
        config.labels.insert("app".to_owned(), name.to_owned());
        ids.push(daemon.run_pod(&config).await);
    }
    daemon.stop_pod(&ids[2]).await;
    let listed = async |filter: Option<PodSandboxStatsFilter>| {
        let request = ListPodSandboxStatsRequest { filter };
        let stats = daemon.runtime().list_pod_sandbox_stats(request).await.expect("stats").into_inner().stats;
        stats.into_iter().map(|stats| stats.attributes.expect("attributes").id).collect::<HashSet<_>>()
    };
    // Pods without a container, in a cgroup that nobody has made yet, are measured as far as they go.
    assert_eq!(listed(None).await, HashSet::from([ids[0].clone(), ids[1].clone()]));
    let labels = [("app".to_owned(), "b".to_owned())].into();
    let by_label = PodSandboxStatsFilter { label_selector: labels, ..Default::default() };
    assert_eq!(listed(Some(by_label)).await, HashSet::from([ids[1].clone()]));
    let by_id = PodSandboxStatsFilter { id: ids[0].clone(), ..Default::default() };
    assert_eq!(listed(Some(by_id)).await, HashSet::from([ids[0].clone()]));
}

/// Samples of a container or pod by the name of their family: labels by key, and a value.
type Samples = HashMap<String, Vec<(HashMap<String, String>, u64)>>;

/// All samples of a container or pod.
fn samples(metrics: &[Metric], descriptors: &HashMap<String, MetricDescriptor>) -> Samples {
    let mut samples = Samples::new();
    for metric in metrics {
        let descriptor = descriptors.get(&metric.name).unwrap_or_else(|| panic!("{} is not described", metric.name));
        assert_eq!(descriptor.label_keys.len(), metric.label_values.len(), "{metric:?}");
        let labels = descriptor.label_keys.iter().cloned().zip(metric.label_values.iter().cloned()).collect();
        samples.entry(metric.name.clone()).or_default().push((labels, number(metric.value.as_ref())));
    }
    samples
}

#[tokio::test]
async fn metrics_are_those_of_cadvisor() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let (pod, id) = busy(&daemon).await;
    let answer = daemon.runtime().list_metric_descriptors(ListMetricDescriptorsRequest {}).await.expect("descriptors");
    let descriptors = answer.into_inner().descriptors;
    assert!(descriptors.iter().all(|descriptor| !descriptor.help.is_empty() && !descriptor.label_keys.is_empty()));
    let descriptors: HashMap<_, _> = descriptors.into_iter().map(|it| (it.name.clone(), it)).collect();
    let listed = async || {
        let answer = daemon.runtime().list_pod_sandbox_metrics(ListPodSandboxMetricsRequest {}).await;
        answer.expect("metrics").into_inner().pod_metrics
    };
    let value = |samples: &Samples, name: &str| samples.get(name).unwrap_or_else(|| panic!("no {name}"))[0].1;
    eventually("the quota holds the container back, and its server listens", async || {
        let metrics = listed().await.remove(0).container_metrics.remove(0).metrics;
        let samples = samples(&metrics, &descriptors);
        ["container_cpu_cfs_throttled_periods_total", "container_sockets"].iter().all(|name| value(&samples, name) > 0)
    })
    .await;

    let all = listed().await;
    let [of_pod] = &all[..] else { panic!("one pod: {all:?}") };
    let [of_container] = &of_pod.container_metrics[..] else { panic!("one container: {of_pod:?}") };
    assert_eq!((&of_pod.pod_sandbox_id, &of_container.container_id), (&pod, &id));
    let of_container = samples(&of_container.metrics, &descriptors);
    let (labels, _) = &of_container["container_cpu_usage_seconds_total"][0];
    for (key, expected) in
        [("namespace", "test"), ("pod", "busy"), ("container", "main"), ("name", id.as_str()), ("cpu", "total")]
    {
        assert_eq!(labels[key], expected, "{labels:?}");
    }
    assert!(labels["image"].contains("busybox") && labels["id"].contains(daemon.mark()), "{labels:?}");

    let value_of = |name: &str| value(&of_container, name);
    assert_eq!(value_of("container_processes"), 3, "a shell, a sleep and a server");
    assert_eq!(value_of("container_threads"), 3);
    assert!(value_of("container_sockets") >= 1);
    assert!(value_of("container_file_descriptors") > value_of("container_sockets"));
    assert_eq!(value_of("container_spec_memory_limit_bytes"), 64 << 20);
    assert_eq!((value_of("container_spec_cpu_quota"), value_of("container_spec_cpu_period")), (5_000, 100_000));
    assert!(value_of("container_cpu_cfs_periods_total") > 0);
    assert_eq!(value_of("container_oom_events_total"), 0);
    assert!(value_of("container_memory_usage_bytes") >= value_of("container_memory_working_set_bytes"));
    assert!(value_of("container_memory_max_usage_bytes") >= value_of("container_memory_rss"));
    assert!(value_of("container_fs_usage_bytes") >= 1_000_000);
    assert!(value_of("container_fs_limit_bytes") > value_of("container_fs_usage_bytes"));
    assert!(value_of("container_ulimits_soft") > 0);
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").as_secs();
    let (seen, started) = (value_of("container_last_seen"), value_of("container_start_time_seconds"));
    assert!(started <= seen && seen <= now && now - started < patience(600).as_secs(), "{started} {seen} {now}");
    if std::path::Path::new("/proc/pressure/cpu").exists() {
        value_of("container_pressure_cpu_waiting_seconds_total");
    }

    let of_pod = samples(&of_pod.metrics, &descriptors);
    let (labels, _) = &of_pod["container_network_receive_bytes_total"][0];
    assert_eq!((labels["interface"].as_str(), labels["container"].as_str()), ("eth0", ""), "{labels:?}");
    assert!(value(&of_pod, "container_cpu_usage_seconds_total") >= value_of("container_cpu_usage_seconds_total"));
    assert_eq!(value(&of_pod, "container_threads"), 3);
}

#[tokio::test]
async fn a_kill_for_memory_is_an_event_in_the_metrics() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let config = pod(&daemon, "p");
    let pod = daemon.run_pod(&config).await;
    let mut hungry = shell("c", "dd if=/dev/zero of=/dev/null bs=40M count=1; sleep 1000");
    hungry.linux.get_or_insert_default().resources =
        Some(LinuxContainerResources { memory_limit_in_bytes: 20 << 20, ..Default::default() });
    daemon.run(&pod, &hungry, &config).await;
    eventually("the kill is counted", async || {
        let answer = daemon.runtime().list_pod_sandbox_metrics(ListPodSandboxMetricsRequest {}).await.expect("metrics");
        let all = answer.into_inner().pod_metrics.remove(0).container_metrics;
        let mut metrics = all.iter().flat_map(|container| &container.metrics);
        let events = metrics.find(|metric| metric.name == "container_oom_events_total");
        events.is_some_and(|metric| number(metric.value.as_ref()) == 1)
    })
    .await;
}

#[tokio::test]
async fn lists_come_as_streams_with_the_same_content() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let (pod, id) = busy(&daemon).await;
    macro_rules! streamed {
        ($rpc:ident, $request:expr, $field:ident) => {{
            let mut members = Vec::new();
            let mut stream = daemon.runtime().$rpc($request).await.expect("a stream").into_inner();
            while let Some(batch) = stream.next().await {
                members.extend(batch.expect("a batch").$field);
            }
            members
        }};
    }
    let pods = streamed!(stream_pod_sandboxes, StreamPodSandboxesRequest::default(), pod_sandboxes);
    assert_eq!(pods.iter().map(|pod| &pod.id).collect::<Vec<_>>(), [&pod]);
    let containers = streamed!(stream_containers, StreamContainersRequest::default(), containers);
    assert_eq!(containers.iter().map(|container| &container.id).collect::<Vec<_>>(), [&id]);
    let stats = streamed!(stream_container_stats, StreamContainerStatsRequest::default(), container_stats);
    assert_eq!(stats.iter().filter_map(|it| it.attributes.as_ref()).map(|it| &it.id).collect::<Vec<_>>(), [&id]);
    let stats = streamed!(stream_pod_sandbox_stats, StreamPodSandboxStatsRequest::default(), pod_sandbox_stats);
    assert_eq!(stats.iter().filter_map(|it| it.attributes.as_ref()).map(|it| &it.id).collect::<Vec<_>>(), [&pod]);
    let metrics = streamed!(stream_pod_sandbox_metrics, StreamPodSandboxMetricsRequest {}, pod_sandbox_metrics);
    assert_eq!(metrics.iter().map(|it| &it.pod_sandbox_id).collect::<Vec<_>>(), [&pod]);

    let mut stream = daemon.image().stream_images(StreamImagesRequest::default()).await.expect("images").into_inner();
    let batch = stream.next().await.expect("a batch").expect("images");
    assert_eq!(batch.images.len(), 1);
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn details_are_what_tools_look_for_and_hold_no_credentials() {
    requires!(Root);
    let daemon = Daemon::start_with("[runtime]\nhandlers = [\"berth\"]\n").await;
    let (pod, id) = busy(&daemon).await;
    let parsed =
        |info: &HashMap<String, String>| -> serde_json::Value { serde_json::from_str(&info["info"]).expect("JSON") };
    let request = ContainerStatusRequest { container_id: id.clone(), verbose: true };
    let answer = daemon.runtime().container_status(request).await.expect("status").into_inner();
    let info = parsed(&answer.info.into_iter().collect());
    assert_eq!(info["sandboxID"], pod);
    assert_eq!(info["config"]["metadata"]["name"], "main");
    let pid = info["pid"].as_i64().expect("a process id");
    assert!(std::path::Path::new(&format!("/proc/{pid}/root/file")).exists(), "{pid} is not in the container");
    assert_eq!(info["runtimeSpec"]["process"]["args"][0], "/bin/sh");
    assert_eq!(info["runtimeSpec"]["linux"]["resources"]["memory"]["limit"], 64 << 20);

    let request = PodSandboxStatusRequest { pod_sandbox_id: pod.clone(), verbose: true };
    let answer = daemon.runtime().pod_sandbox_status(request).await.expect("status").into_inner();
    assert!(answer.timestamp > 0 && answer.containers_statuses.len() == 1, "kubelet's evented mode needs both");
    let info = parsed(&answer.info.into_iter().collect());
    let namespaces = info["runtimeSpec"]["linux"]["namespaces"].as_array().expect("namespaces");
    let network = namespaces.iter().find(|namespace| namespace["type"] == "network").expect("a network");
    let inode = |path: &str| {
        use std::os::unix::fs::MetadataExt as _;
        std::fs::metadata(path).unwrap_or_else(|error| panic!("{path}: {error}")).ino()
    };
    assert_eq!(inode(network["path"].as_str().expect("a path")), inode(&format!("/proc/{pid}/ns/net")));
    assert_eq!(info["config"]["metadata"]["name"], "busy");
}
