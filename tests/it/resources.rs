//! Limits: what the kernel is told, what containers feel, what is measured.

use std::{fs, path::PathBuf};

use berth::wire::{
    ContainerConfig, ContainerStatsRequest, HugepageLimit, LinuxContainerResources, ListContainerStatsRequest,
};
use tonic::Code;

use crate::support::{Daemon, container, eventually, log_text, pod, refusal, shell};

pub(crate) fn with_limits(mut config: ContainerConfig, limits: LinuxContainerResources) -> ContainerConfig {
    config.linux.get_or_insert_default().resources = Some(limits);
    config
}

/// Every file of that name in the container's cgroup, in whichever hierarchy has it.
pub(crate) fn cgroup_file(pid: i32, name: &str) -> String {
    let table = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("the process's cgroups");
    for line in table.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next().expect("controllers"), fields.next().expect("a path"));
        let roots = std::iter::once("/sys/fs/cgroup".to_owned())
            .chain(controllers.split(',').map(|controller| format!("/sys/fs/cgroup/{controller}")))
            .chain(std::iter::once(format!("/sys/fs/cgroup/{controllers}")));
        for root in roots {
            let file = PathBuf::from(format!("{root}{path}/{name}"));
            if let Ok(text) = fs::read_to_string(file) {
                return text.trim().to_owned();
            }
        }
    }
    panic!("no {name} in\n{table}");
}

fn no_pages_of(size: &str) -> HugepageLimit {
    HugepageLimit { page_size: size.to_owned(), limit: 0 }
}

fn limits() -> LinuxContainerResources {
    LinuxContainerResources {
        cpu_period: 100_000,
        cpu_quota: 50_000,
        cpu_shares: 512,
        memory_limit_in_bytes: 64 << 20,
        // No swap.
        memory_swap_limit_in_bytes: 64 << 20,
        oom_score_adj: 500,
        cpuset_cpus: "0".into(),
        // As kubelet sends them, whatever the machine has.
        hugepage_limits: ["64KB", "2MB", "32MB", "1GB"].map(no_pages_of).to_vec(),
        ..Default::default()
    }
}

/// A running container with [`limits`], and its process id.
pub(crate) async fn limited(daemon: &Daemon) -> (String, i32) {
    daemon.import_busybox().await;
    let config = pod(daemon, "p");
    let pod = daemon.run_pod(&config).await;
    let id = daemon.run(&pod, &with_limits(container("c", &["sleep", "1000"]), limits()), &config).await;
    let pid = daemon.container_pid(&id).await;
    (id, pid)
}

#[tokio::test]
async fn limits_reach_cgroup_v1() {
    requires!(Root, CgroupV1);
    let daemon = Daemon::start().await;
    let (_, pid) = limited(&daemon).await;
    assert_eq!(cgroup_file(pid, "cpu.cfs_quota_us"), "50000");
    assert_eq!(cgroup_file(pid, "cpu.shares"), "512");
    assert_eq!(cgroup_file(pid, "memory.limit_in_bytes"), (64 << 20).to_string());
    if fs::exists("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").expect("look for it") {
        assert_eq!(cgroup_file(pid, "memory.memsw.limit_in_bytes"), (64 << 20).to_string());
    }
    assert_eq!(cgroup_file(pid, "cpuset.cpus"), "0");
}

#[tokio::test]
async fn limits_reach_cgroup_v2() {
    requires!(Root, CgroupV2);
    let daemon = Daemon::start().await;
    let (_, pid) = limited(&daemon).await;
    assert_eq!(cgroup_file(pid, "cpu.max"), "50000 100000");
    assert_eq!(cgroup_file(pid, "memory.max"), (64 << 20).to_string());
    assert_eq!(cgroup_file(pid, "cpuset.cpus"), "0");
}

#[tokio::test]
async fn raw_settings_reach_cgroup_v2() {
    requires!(Root, CgroupV2);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let config = pod(&daemon, "p");
    let pod = daemon.run_pod(&config).await;
    let mut raw = LinuxContainerResources::default();
    raw.unified.insert("memory.high".into(), "33554432".into());
    raw.unified.insert("memory.oom.group".into(), "1".into());
    let id = daemon.run(&pod, &with_limits(container("c", &["sleep", "1000"]), raw), &config).await;
    let pid = daemon.container_pid(&id).await;
    assert_eq!(cgroup_file(pid, "memory.high"), "33554432");
    assert_eq!(cgroup_file(pid, "memory.oom.group"), "1");
}

#[tokio::test]
async fn the_status_tells_the_limits() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let (id, pid) = limited(&daemon).await;
    let told = daemon.status(&id).await.resources.and_then(|resources| resources.linux).expect("resources");
    assert_eq!((told.cpu_quota, told.cpu_period), (50_000, 100_000));
    assert_eq!((told.memory_limit_in_bytes, told.memory_swap_limit_in_bytes), (64 << 20, 64 << 20));
    assert_eq!((told.cpu_shares, told.oom_score_adj, told.cpuset_cpus.as_str()), (512, 500, "0"));
    assert_eq!(told.hugepage_limits, limits().hugepage_limits);
    let adjustment = fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).expect("the score");
    assert_eq!(adjustment.trim(), "500");
}

#[tokio::test]
async fn memory_beyond_the_limit_kills_and_is_told() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let limits = LinuxContainerResources { memory_limit_in_bytes: 15 << 20, ..Default::default() };
    let config = with_limits(shell("c", "dd if=/dev/zero of=/dev/null bs=20M count=1; exit $?"), limits);
    let (status, _) = daemon.run_to_end(&config).await;
    assert_eq!((status.exit_code, status.reason.as_str()), (137, "OOMKilled"), "{status:?}");
}

#[tokio::test]
async fn a_container_that_was_killed_on_request_was_not_killed_for_memory() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let limits = LinuxContainerResources { memory_limit_in_bytes: 15 << 20, ..Default::default() };
    let config = pod(&daemon, "p");
    let pod = daemon.run_pod(&config).await;
    let script = "dd if=/dev/zero of=/dev/null bs=20M count=1; echo child $?; while :; do sleep 1; done";
    let id = daemon.run(&pod, &with_limits(shell("c", script), limits), &config).await;
    let is_told = async || log_text(&daemon.status(&id).await).contains("child 137");
    eventually("the child is killed for memory", is_told).await;
    daemon.stop(&id, 0).await;
    let status = daemon.wait_for_end(&id).await;
    assert_eq!((status.exit_code, status.reason.as_str()), (137, "Error"), "{status:?}");
}

#[tokio::test]
async fn absurd_limits_are_refused() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let config = pod(&daemon, "p");
    let pod = daemon.run_pod(&config).await;
    let base = LinuxContainerResources::default;
    for (limits, what) in [
        (LinuxContainerResources { memory_limit_in_bytes: -5, ..base() }, "negative memory"),
        (LinuxContainerResources { cpu_quota: 10, cpu_period: 100_000, ..base() }, "a quota below the kernel's least"),
        (LinuxContainerResources { cpu_period: 5, cpu_quota: 50_000, ..base() }, "a period below the kernel's least"),
        (LinuxContainerResources { cpuset_cpus: "x".into(), ..base() }, "CPUs that are none"),
        (LinuxContainerResources { cpuset_cpus: "99999".into(), ..base() }, "CPUs that are not there"),
        (LinuxContainerResources { oom_score_adj: 5000, ..base() }, "a score out of range"),
        (
            LinuxContainerResources { memory_limit_in_bytes: 64 << 20, memory_swap_limit_in_bytes: 1 << 20, ..base() },
            "swap below memory",
        ),
    ] {
        let config_ = with_limits(container("c", &["true"]), limits);
        let answer = match daemon.try_create(&pod, &config_, &config).await {
            Ok(id) => {
                let started = daemon.try_start(&id).await;
                daemon.remove(&id).await;
                started
            }
            Err(status) => Err(status),
        };
        let (code, message) = refusal(answer.map(tonic::Response::new));
        assert_eq!(code, Code::InvalidArgument, "{what}: {message}");
    }
}

#[tokio::test]
async fn usage_is_measured() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let config = pod(&daemon, "p");
    let pod = daemon.run_pod(&config).await;
    let busy = shell("busy", "head -c 100000 /dev/zero > /file; while :; do :; done");
    let id = daemon.run(&pod, &busy, &config).await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let request = ContainerStatsRequest { container_id: id.clone() };
    let one = daemon.runtime().container_stats(request).await.expect("stats").into_inner().stats.expect("stats");
    let cpu = one.cpu.as_ref().expect("cpu");
    assert!(
        cpu.timestamp > 0 && cpu.usage_core_nano_seconds.as_ref().is_some_and(|used| used.value > 50_000_000),
        "{cpu:?}"
    );
    let memory = one.memory.as_ref().expect("memory");
    assert!(memory.working_set_bytes.as_ref().is_some_and(|bytes| bytes.value > 0), "{memory:?}");
    assert!(one.writable_layer.is_some_and(|layer| layer.used_bytes.is_some_and(|bytes| bytes.value >= 100_000)));
    assert_eq!(one.attributes.and_then(|attributes| attributes.metadata).expect("metadata").name, "busy");

    let request = ListContainerStatsRequest::default();
    let all = daemon.runtime().list_container_stats(request).await.expect("stats").into_inner().stats;
    assert_eq!(all.len(), 1);
    daemon.stop(&id, 0).await;
    let request = ListContainerStatsRequest::default();
    let all = daemon.runtime().list_container_stats(request).await.expect("stats").into_inner().stats;
    assert!(all.is_empty(), "a container that does not run is measured");
}
