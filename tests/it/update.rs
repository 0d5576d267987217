//! Limits that change while containers run, are not started yet, or have ended.

use berth::wire::{
    ContainerResources, LinuxContainerResources, UpdateContainerResourcesRequest, UpdatePodSandboxResourcesRequest,
};
use tonic::{Code, Response, Status};

use crate::{
    resources::{cgroup_file, limited, with_limits},
    support::{Daemon, container, pod, refusal},
};

const MIB: i64 = 1 << 20;

async fn update(daemon: &Daemon, id: &str, linux: LinuxContainerResources) -> Result<(), Status> {
    let (container_id, linux) = (id.to_owned(), Some(linux));
    let request = UpdateContainerResourcesRequest { container_id, linux, ..Default::default() };
    daemon.runtime().update_container_resources(request).await.map(drop)
}

async fn update_pod(daemon: &Daemon, id: &str, resources: LinuxContainerResources) -> Result<(), Status> {
    let (pod_sandbox_id, resources) = (id.to_owned(), Some(resources));
    let request = UpdatePodSandboxResourcesRequest { pod_sandbox_id, resources, ..Default::default() };
    daemon.runtime().update_pod_sandbox_resources(request).await.map(drop)
}

async fn told(daemon: &Daemon, id: &str) -> LinuxContainerResources {
    let resources: Option<ContainerResources> = daemon.status(id).await.resources;
    resources.and_then(|resources| resources.linux).expect("resources")
}

/// As kubelet resizes a container in place: it sends what changes, and leaves the rest at zero.
fn resize() -> LinuxContainerResources {
    LinuxContainerResources {
        cpu_quota: 30_000,
        cpu_period: 100_000,
        cpu_shares: 256,
        memory_limit_in_bytes: 96 * MIB,
        memory_swap_limit_in_bytes: 96 * MIB,
        ..Default::default()
    }
}

#[tokio::test]
async fn a_running_container_is_resized_on_cgroup_v1() {
    requires!(Root, CgroupV1);
    let daemon = Daemon::start().await;
    let (id, pid) = limited(&daemon).await;
    update(&daemon, &id, resize()).await.expect("resize");
    assert_eq!(cgroup_file(pid, "cpu.cfs_quota_us"), "30000");
    assert_eq!(cgroup_file(pid, "cpu.shares"), "256");
    assert_eq!(cgroup_file(pid, "memory.limit_in_bytes"), (96 * MIB).to_string());
    assert_eq!(cgroup_file(pid, "cpuset.cpus"), "0", "what was not sent");
    update(&daemon, &id, LinuxContainerResources { cpu_quota: -1, ..Default::default() })
        .await
        .expect("lift the quota");
    assert_eq!(cgroup_file(pid, "cpu.cfs_quota_us"), "-1");
}

#[tokio::test]
async fn a_running_container_is_resized_on_cgroup_v2() {
    requires!(Root, CgroupV2);
    let daemon = Daemon::start().await;
    let (id, pid) = limited(&daemon).await;
    let mut changes = resize();
    changes.unified.insert("memory.high".into(), (80 * MIB).to_string());
    update(&daemon, &id, changes).await.expect("resize");
    assert_eq!(cgroup_file(pid, "cpu.max"), "30000 100000");
    assert_eq!(cgroup_file(pid, "memory.max"), (96 * MIB).to_string());
    assert_eq!(cgroup_file(pid, "memory.high"), (80 * MIB).to_string());
    assert_eq!(cgroup_file(pid, "cpuset.cpus"), "0", "what was not sent");
    update(&daemon, &id, LinuxContainerResources { cpu_quota: -1, ..Default::default() })
        .await
        .expect("lift the quota");
    assert_eq!(cgroup_file(pid, "cpu.max"), "max 100000");
}

#[tokio::test]
async fn the_status_tells_what_is_in_force() {
    requires!(Root);
    let mut daemon = Daemon::start().await;
    let (id, _) = limited(&daemon).await;
    let pinned = LinuxContainerResources { cpuset_cpus: "0-1".into(), ..resize() };
    let expected = LinuxContainerResources { oom_score_adj: 500, ..pinned.clone() };
    update(&daemon, &id, pinned).await.expect("resize");
    let status = told(&daemon, &id).await;
    assert_eq!(LinuxContainerResources { hugepage_limits: Vec::new(), ..status.clone() }, expected);

    let below = LinuxContainerResources { memory_limit_in_bytes: 4096, ..Default::default() };
    let (code, _) = refusal(update(&daemon, &id, below).await.map(Response::new));
    assert_ne!(code, Code::Ok, "a limit below the usage");
    assert_eq!(told(&daemon, &id).await, status, "a refused change");

    daemon.kill();
    daemon.start_again().await;
    assert_eq!(told(&daemon, &id).await, status, "after a restart of the daemon");
}

#[tokio::test]
async fn limits_that_change_before_the_start_are_those_that_it_starts_with() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let config = pod(&daemon, "p");
    let pod = daemon.run_pod(&config).await;
    let resources = LinuxContainerResources { cpuset_cpus: "0-1".into(), ..Default::default() };
    let id = daemon.create(&pod, &with_limits(container("c", &["sleep", "1000"]), resources), &config).await;
    let pinned = LinuxContainerResources { cpuset_cpus: "1".into(), ..resize() };
    update(&daemon, &id, pinned).await.expect("resize");
    daemon.try_start(&id).await.expect("start");
    let pid = daemon.container_pid(&id).await;
    assert_eq!(cgroup_file(pid, "cpuset.cpus"), "1");
    assert_eq!(told(&daemon, &id).await.memory_limit_in_bytes, 96 * MIB);

    daemon.stop(&id, 0).await;
    update(&daemon, &id, resize()).await.expect("a container that has ended, as the interface has it");
}

#[tokio::test]
async fn updates_that_cannot_be_are_refused() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let (id, pid) = limited(&daemon).await;
    for (changes, expected) in [
        (LinuxContainerResources { memory_limit_in_bytes: -5, ..Default::default() }, Code::InvalidArgument),
        (LinuxContainerResources { cpuset_cpus: "x".into(), ..Default::default() }, Code::InvalidArgument),
        (LinuxContainerResources { cpuset_cpus: "99999".into(), ..Default::default() }, Code::InvalidArgument),
    ] {
        let (code, message) = refusal(update(&daemon, &id, changes).await.map(Response::new));
        assert_eq!(code, expected, "{message}");
    }
    assert_eq!(cgroup_file(pid, "cpuset.cpus"), "0");
    let (code, _) = refusal(update(&daemon, "nobody", resize()).await.map(Response::new));
    assert_eq!(code, Code::NotFound);
    let (code, _) = refusal(update_pod(&daemon, "nobody", resize()).await.map(Response::new));
    assert_eq!(code, Code::NotFound);
}

#[tokio::test]
async fn a_pods_limits_hold_for_its_containers_together() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let (pod, id) = daemon.run_sleeper().await;
    let pid = daemon.container_pid(&id).await;
    update_pod(&daemon, &pod, resize()).await.expect("limit the pod");
    let is_v2 = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let (memory, cpu) = if is_v2 { ("memory.max", "cpu.max") } else { ("memory.limit_in_bytes", "cpu.cfs_quota_us") };
    assert_eq!(cgroup_file(pid, &format!("../{memory}")), (96 * MIB).to_string());
    assert_eq!(cgroup_file(pid, &format!("../{cpu}")).split(' ').next(), Some("30000"));
    assert_ne!(cgroup_file(pid, memory), (96 * MIB).to_string(), "the container's own limit");

    daemon.stop_pod(&pod).await;
    let (code, _) = refusal(update_pod(&daemon, &pod, resize()).await.map(Response::new));
    assert_eq!(code, Code::FailedPrecondition, "a pod that is stopped");
}
