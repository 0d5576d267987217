//! Pods that break under the engine: what kubelet sees of them, and that it can put others in their place.

use std::{collections::VecDeque, fs};

use berth::wire::{
    ContainerConfig, ContainerState, ContainerStatus, NamespaceMode, PodSandboxConfig, PodSandboxState,
    RunPodSandboxRequest,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    images::find,
    support::{BUSYBOX, Daemon, container, cut_power, eventually, pod, security, shell},
};

fn kill_process(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("kill a process");
}

/// The name and the parent of a process that is not dead.
fn name_and_parent(pid: i32) -> Option<(String, i32)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |key: &str| Some(status.lines().find_map(|line| line.strip_prefix(key))?.trim().to_owned());
    // The machine's init takes its time with orphans.
    if field("State:")?.starts_with('Z') {
        return None;
    }
    Some((field("Name:")?, field("PPid:")?.parse().ok()?))
}

/// The init of a pod with shared PIDs: a child of its monitor.
fn shared_init(monitor: i32) -> i32 {
    let processes = fs::read_dir("/proc").expect("list processes").flatten();
    let mut ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.find(|&pid| name_and_parent(pid) == Some(("berth:pause".to_owned(), monitor))).expect("the pod's init")
}

/// Everything that kubelet needs to put another pod in the place of one that is broken.
async fn expect_replaceable(daemon: &Daemon, broken: &str, config: &PodSandboxConfig, container: &ContainerConfig) {
    assert_eq!(daemon.pod_status(broken).await.metadata, config.metadata);
    let mut next = config.clone();
    next.metadata.as_mut().expect("metadata").attempt = 1;
    let pod = daemon.run_pod(&next).await;
    let id = daemon.run(&pod, container, &next).await;
    daemon.exec(&id, &["true"]).await;
    daemon.remove_pod(broken).await;
    assert_eq!(daemon.status(&id).await.state(), ContainerState::ContainerRunning);
}

async fn eventually_not_ready(daemon: &Daemon, pod: &str) {
    let is_not_ready = async || daemon.pod_status(pod).await.state() == PodSandboxState::SandboxNotready;
    eventually("the pod is not ready", is_not_ready).await;
}

fn code_and_reason(status: &ContainerStatus) -> (ContainerState, i32, &str) {
    (status.state(), status.exit_code, status.reason.as_str())
}

#[tokio::test]
async fn without_the_init_of_its_processes_a_pod_is_not_ready() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let mut config = pod(&daemon, "shared");
    let linux = config.linux.get_or_insert_default().security_context.get_or_insert_default();
    linux.namespace_options.get_or_insert_default().pid = NamespaceMode::Pod.into();
    let mut sleeper = container("c", &["sleep", "1000"]);
    security(&mut sleeper).namespace_options.get_or_insert_default().pid = NamespaceMode::Pod.into();
    let pod = daemon.run_pod(&config).await;
    let id = daemon.run(&pod, &sleeper, &config).await;
    kill_process(shared_init(daemon.monitor_pid(&id).await));
    eventually_not_ready(&daemon, &pod).await;
    assert_eq!(code_and_reason(&daemon.status(&id).await), (ContainerState::ContainerExited, 137, "Error"));
    expect_replaceable(&daemon, &pod, &config, &sleeper).await;
}

#[tokio::test]
async fn without_its_monitor_a_pod_is_not_ready_and_its_containers_ends_are_unknown() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let config = pod(&daemon, "p");
    let pod = daemon.run_pod(&config).await;
    let sleeper = container("c", &["sleep", "1000"]);
    let running = daemon.run(&pod, &sleeper, &config).await;
    let ended = daemon.run(&pod, &shell("ended", "exit 7"), &config).await;
    let created = daemon.create(&pod, &container("created", &["true"]), &config).await;
    daemon.wait_for_end(&ended).await;
    let pid = daemon.container_pid(&running).await;
    kill_process(daemon.monitor_pid(&running).await);
    eventually_not_ready(&daemon, &pod).await;
    for (id, expected) in [(&running, (255, "Unknown")), (&ended, (7, "Error")), (&created, (255, "Unknown"))] {
        let status = daemon.wait_for_end(id).await;
        assert_eq!((status.exit_code, status.reason.as_str()), expected, "{status:?}");
        assert!(status.finished_at >= status.created_at, "{status:?}");
    }
    assert_eq!(name_and_parent(pid), None, "the container goes on, and nobody watches it");
    expect_replaceable(&daemon, &pod, &config, &sleeper).await;
}

#[tokio::test]
async fn the_address_of_a_pod_without_monitor_can_be_had_again() {
    requires!(Root);
    let daemon = Daemon::start_with("[network]\nsubnets = [\"10.99.6.0/29\"]\n").await;
    daemon.import_busybox().await;
    let mut pods = VecDeque::new();
    let run = async |number: usize| {
        let config = pod(&daemon, &format!("p{number}"));
        let request = RunPodSandboxRequest { config: Some(config.clone()), ..Default::default() };
        daemon.runtime().run_pod_sandbox(request).await.map(|answer| (answer.into_inner().pod_sandbox_id, config))
    };
    while let Ok(made) = run(pods.len()).await {
        pods.push_back(made);
    }
    let (broken, config) = pods.pop_front().expect("a pod");
    let id = daemon.run(&broken, &container("c", &["sleep", "1000"]), &config).await;
    kill_process(daemon.monitor_pid(&id).await);
    eventually_not_ready(&daemon, &broken).await;
    daemon.stop_pod(&broken).await;
    run(100).await.expect("the address of the pod that was stopped");
}

#[tokio::test]
async fn after_a_reboot_all_is_known_and_nothing_runs() {
    requires!(Root);
    let mut daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let mut config = pod(&daemon, "p");
    config.labels.insert("io.kubernetes.pod.uid".into(), "abc".into());
    let pod = daemon.run_pod(&config).await;
    let mut sleeper = container("c", &["sleep", "1000"]);
    sleeper.annotations.insert("io.kubernetes.container.restartCount".into(), "3".into());
    let running = daemon.run(&pod, &sleeper, &config).await;
    let ended = daemon.run(&pod, &shell("ended", "echo words; exit 7"), &config).await;
    let created = daemon.create(&pod, &container("created", &["true"]), &config).await;
    daemon.wait_for_end(&ended).await;
    let (before, ended_before) = (daemon.status(&running).await, daemon.status(&ended).await);
    cut_power(&mut daemon).await;
    daemon.start_again().await;

    let status = daemon.pod_status(&pod).await;
    assert_eq!((status.state(), &status.labels), (PodSandboxState::SandboxNotready, &config.labels));
    let after = daemon.status(&running).await;
    assert_eq!(code_and_reason(&after), (ContainerState::ContainerExited, 255, "Unknown"));
    assert_eq!((after.started_at, &after.annotations), (before.started_at, &sleeper.annotations));
    assert!(after.finished_at > after.started_at, "{after:?}");
    assert_eq!(daemon.status(&ended).await, ended_before);
    assert_eq!(daemon.status(&created).await.state(), ContainerState::ContainerExited);
    assert!(find(&daemon, BUSYBOX).await.is_some(), "the image is gone");
    expect_replaceable(&daemon, &pod, &config, &sleeper).await;
}
