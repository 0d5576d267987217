//! Resources that are used up: who asks is told which, nobody else notices, and when there is some again all goes on
//! without a restart.

use std::{
    fs,
    path::{Path, PathBuf},
};

use berth::wire::{
    ContainerState, CreateContainerRequest, ListContainerStatsRequest, ListPodSandboxRequest, PodSandboxConfig,
    RemoveContainerRequest, RunPodSandboxRequest,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tonic::Code;

use crate::support::{
    Archive, BUSYBOX, Daemon, Shortage, SmallDisk, container, cut_power, eventually, log_text, own_mounts, patience,
    pod, refusal, shell,
};

/// Bytes of a disk on which an engine with one image has its place.
const DISK: u64 = 48 << 20;

async fn refused_pod(daemon: &Daemon, config: PodSandboxConfig) -> (Code, String) {
    let request = RunPodSandboxRequest { config: Some(config), ..Default::default() };
    refusal(daemon.runtime().run_pod_sandbox(request).await)
}

/// The store's disk is filled by `fill`, and has room again.
async fn a_full_store(options: &str, fill: fn(&SmallDisk)) {
    own_mounts();
    let mut daemon = Daemon::start().await;
    daemon.terminate().await;
    let root = daemon.path("root");
    let disk = SmallDisk::mount(root.clone(), options);
    daemon.start_again().await;
    daemon.import_busybox().await;
    let before = pod(&daemon, "before");
    let pod_before = daemon.run_pod(&before).await;
    let running = daemon.run(&pod_before, &container("running", &["sleep", "1000"]), &before).await;

    fill(&disk);
    let archive = Archive::busybox().with_config(&serde_json::json!({ "User": "app" })).oci_layout("other:1");
    let (code, message) = refusal(daemon.import(archive.clone(), "").await.map(tonic::Response::new));
    assert_eq!(code, Code::ResourceExhausted, "{message}");
    assert!(message.contains("No space left"), "{message}");
    let request = CreateContainerRequest {
        pod_sandbox_id: pod_before.clone(),
        config: Some(container("late", &["true"])),
        sandbox_config: Some(before.clone()),
    };
    let (code, message) = refusal(daemon.runtime().create_container(request.clone()).await);
    assert_eq!(code, Code::ResourceExhausted, "{message}");
    // A pod needs no more than a record, for which there may be room.
    let meanwhile = RunPodSandboxRequest { config: Some(pod(&daemon, "meanwhile")), ..Default::default() };
    match daemon.runtime().run_pod_sandbox(meanwhile.clone()).await {
        Ok(answer) => daemon.remove_pod(&answer.into_inner().pod_sandbox_id).await,
        Err(status) => {
            assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
            assert!(status.message().contains("No space left"), "{status:?}");
        }
    }
    // What needs no room goes on.
    assert_eq!(daemon.status(&running).await.state(), ContainerState::ContainerRunning);
    assert_eq!(daemon.exec(&running, &["echo", "alive"]).await, "alive");

    disk.empty();
    daemon.import(archive, "").await.expect("import when there is room");
    let meanwhile = daemon.runtime().run_pod_sandbox(meanwhile).await.expect("run when there is room").into_inner();
    daemon.remove_pod(&meanwhile.pod_sandbox_id).await;
    let late = daemon.runtime().create_container(request).await.expect("create when there is room").into_inner();
    daemon.try_start(&late.container_id).await.expect("start when there is room");
    daemon.wait_for_end(&late.container_id).await;
    // All of it was written down.
    daemon.kill();
    daemon.start_again().await;
    assert_eq!(daemon.status(&late.container_id).await.state(), ContainerState::ContainerExited);
    let pods = daemon.runtime().list_pod_sandbox(ListPodSandboxRequest::default()).await.expect("list").into_inner();
    assert_eq!(pods.items.iter().map(|pod| &pod.id).collect::<Vec<_>>(), [&pod_before]);
    daemon.remove_pod(&pod_before).await;
    daemon.terminate().await;
}

#[tokio::test]
async fn a_full_disk_of_the_store() {
    requires!(Root);
    a_full_store(&format!("size={DISK}"), SmallDisk::fill).await;
}

#[tokio::test]
async fn a_disk_of_the_store_without_inodes() {
    requires!(Root);
    a_full_store("nr_inodes=2000", SmallDisk::fill_with_files).await;
}

/// What is said of an end that could not be written down is said again by the next daemon.
async fn ends_on_a_full_disk(options: &str, fill: fn(&SmallDisk)) {
    own_mounts();
    let mut daemon = Daemon::start().await;
    daemon.terminate().await;
    let disk = SmallDisk::mount(daemon.path("root"), options);
    daemon.start_again().await;
    daemon.import_busybox().await;
    let (config, other) = (pod(&daemon, "p"), pod(&daemon, "q"));
    let (pod, with_dead_monitor) = (daemon.run_pod(&config).await, daemon.run_pod(&other).await);
    let stopped = daemon.run(&pod, &container("stopped", &["sleep", "1000"]), &config).await;
    let created = daemon.create(&pod, &container("created", &["false"]), &config).await;
    let lost = daemon.run(&with_dead_monitor, &container("lost", &["sleep", "1000"]), &other).await;
    let monitor = daemon.monitor_pid(&lost).await;

    fill(&disk);
    daemon.stop(&stopped, 0).await;
    // Without inodes it does not come to its program.
    if let Err(refused) = daemon.try_start(&created).await {
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    }
    kill(Pid::from_raw(monitor), Signal::SIGKILL).expect("kill the monitor");
    let mut told = Vec::new();
    for id in [&stopped, &created, &lost] {
        told.push(daemon.wait_for_end(id).await);
    }
    daemon.kill();
    disk.empty();
    daemon.start_again().await;
    for status in &told {
        assert_eq!(daemon.status(&status.id).await, *status);
    }
    for pod in [&pod, &with_dead_monitor] {
        daemon.remove_pod(pod).await;
    }
    daemon.terminate().await;
}

#[tokio::test]
async fn an_end_while_the_store_has_no_room_is_told_by_the_next_daemon() {
    requires!(Root);
    ends_on_a_full_disk(&format!("size={DISK}"), SmallDisk::fill).await;
}

#[tokio::test]
async fn an_end_while_the_store_has_no_inodes_is_told_by_the_next_daemon() {
    requires!(Root);
    ends_on_a_full_disk("nr_inodes=2000", SmallDisk::fill_with_files).await;
}

#[tokio::test]
async fn an_end_while_the_store_had_no_room_is_on_disk_later() {
    requires!(Root);
    own_mounts();
    let mut daemon = Daemon::start().await;
    daemon.terminate().await;
    let disk = SmallDisk::mount(daemon.path("root"), &format!("size={DISK}"));
    daemon.start_again().await;
    let (pod, id) = daemon.run_sleeper().await;
    disk.fill();
    daemon.stop(&id, 0).await;
    let told = daemon.status(&id).await;
    disk.empty();
    // It is tried again after a second.
    tokio::time::sleep(patience(3)).await;
    cut_power(&mut daemon).await;
    daemon.start_again().await;
    assert_eq!(daemon.status(&id).await, told);
    daemon.remove_pod(&pod).await;
    daemon.terminate().await;
}

#[tokio::test]
async fn a_full_disk_of_the_logs() {
    requires!(Root);
    own_mounts();
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let (config, elsewhere) = (pod(&daemon, "full"), pod(&daemon, "elsewhere"));
    let directory = daemon.path("logs").join("full");
    let disk = SmallDisk::mount(directory, "size=1m");
    let (full, other) = (daemon.run_pod(&config).await, daemon.run_pod(&elsewhere).await);
    disk.fill();
    // 80 lines of about 1 KiB, more than a pipe holds.
    let line = "x".repeat(1000);
    let script = format!("i=0; while [ $i -lt 80 ]; do echo $i-{line}; i=$((i+1)); done; echo end; sleep 1000");
    let waiting = daemon.run(&full, &shell("waiting", &script), &config).await;
    let free = daemon.run(&other, &shell("free", "echo free; sleep 1000"), &elsewhere).await;
    let status = daemon.status(&free).await;
    eventually("another pod's log is written", async || log_text(&status) == "free\n").await;
    // Who writes waits; everything else of it works.
    assert_eq!(daemon.status(&waiting).await.state(), ContainerState::ContainerRunning);
    assert_eq!(daemon.exec(&waiting, &["echo", "alive"]).await, "alive");

    disk.empty();
    let status = daemon.status(&waiting).await;
    eventually("the log goes on", async || log_text(&status).ends_with("end\n")).await;
    let text = log_text(&status);
    for (number, written) in text.lines().take(80).enumerate() {
        assert_eq!(written, format!("{number}-{line}"));
    }
    daemon.remove_pod(&full).await;
}

#[tokio::test]
async fn no_more_descriptors() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let config = pod(&daemon, "before");
    let pod_before = daemon.run_pod(&config).await;
    let id = daemon.run(&pod_before, &container("c", &["sleep", "1000"]), &config).await;
    let removed = daemon.create(&pod_before, &container("removed", &["true"]), &config).await;

    let shortage = Shortage::of_descriptors(&daemon);
    let (code, message) = refused_pod(&daemon, pod(&daemon, "p")).await;
    assert_eq!(code, Code::ResourceExhausted, "{message}");
    assert!(message.contains("Too many open files"), "{message}");
    let (code, message) = refusal(daemon.try_exec(&id, &["true"], 10).await.map(tonic::Response::new));
    assert_eq!(code, Code::ResourceExhausted, "{message}");
    // A list without those that go on would be no answer.
    let (code, message) = refusal(daemon.runtime().list_container_stats(ListContainerStatsRequest::default()).await);
    assert_eq!(code, Code::ResourceExhausted, "{message}");
    // What this leaves to be deleted in the background is not left for good.
    let request = RemoveContainerRequest { container_id: removed.clone() };
    daemon.runtime().remove_container(request).await.expect("remove a container");
    // A client that is not connected yet waits, as the kernel keeps it in the socket's queue.
    let mut late = daemon.cli(&["version"]).stdout(std::process::Stdio::null()).spawn().expect("start a client");
    assert_eq!(daemon.status(&id).await.state(), ContainerState::ContainerRunning);

    drop(shortage);
    eventually("the client that waited is served", async || late.try_wait().expect("wait").is_some()).await;
    assert!(late.wait().expect("wait").success());
    eventually("nothing is left of the refused pod", async || {
        fs::read_dir(daemon.path("run").join("pods")).expect("list pods' directories").count() == 1
    })
    .await;
    let trash = daemon.path("root/containers/.trash");
    eventually("nothing is left of the removed container", async || {
        fs::read_dir(&trash).expect("list what is to be deleted").count() == 0
    })
    .await;
    daemon.exec(&id, &["true"]).await;
    daemon.run_pod(&pod(&daemon, "p")).await;
}

#[tokio::test]
async fn no_more_addresses() {
    requires!(Root);
    let daemon = Daemon::start_with("[network]\nsubnets = [\"10.77.0.0/29\"]\n").await;
    let mut pods = Vec::new();
    let (code, message) = loop {
        let config = pod(&daemon, &format!("p{}", pods.len()));
        let request = RunPodSandboxRequest { config: Some(config.clone()), ..Default::default() };
        match daemon.runtime().run_pod_sandbox(request).await {
            Ok(answer) => pods.push((answer.into_inner().pod_sandbox_id, config)),
            Err(status) => break (status.code(), status.message().to_owned()),
        }
        assert!(pods.len() < 8, "more pods than addresses");
    };
    assert_eq!(code, Code::ResourceExhausted, "{message}");
    assert!(message.contains("10.77.0.0/29") && pods.len() >= 4, "{} pods: {message}", pods.len());
    let (gone, config) = pods.pop().expect("a pod");
    daemon.remove_pod(&gone).await;
    // An address is free when its link is gone, which the kernel takes a moment for.
    eventually("the address can be had again", async || {
        let request = RunPodSandboxRequest { config: Some(config.clone()), ..Default::default() };
        daemon.runtime().run_pod_sandbox(request).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn no_more_processes_in_a_pod() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let (config, other) = (pod(&daemon, "limited"), pod(&daemon, "other"));
    let (limited, free) = (daemon.run_pod(&config).await, daemon.run_pod(&other).await);
    let id = daemon.run(&limited, &container("c", &["sleep", "1000"]), &config).await;
    let neighbour = daemon.run(&free, &container("c", &["sleep", "1000"]), &other).await;
    let parent = &config.linux.as_ref().expect("a cgroup").cgroup_parent;
    let hierarchy = if Path::new("/sys/fs/cgroup/pids").is_dir() { "/sys/fs/cgroup/pids" } else { "/sys/fs/cgroup" };
    let limit = |text: &str| fs::write(format!("{hierarchy}{parent}/pids.max"), text).expect("limit the pod");
    limit("1");
    // cgroup v1 lets a process in that is there already, which can then have no children; v2 refuses it.
    match daemon.try_exec(&id, &["sh", "-c", "true & wait $!"], 10).await {
        Ok(answer) => assert!(answer.exit_code != 0 && !answer.stderr.is_empty(), "{answer:?}"),
        Err(status) => assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}"),
    }
    assert_eq!(daemon.status(&id).await.state(), ContainerState::ContainerRunning);
    assert_eq!(daemon.exec(&neighbour, &["sh", "-c", "echo alive & wait $!"]).await, "alive");
    limit("max");
    assert_eq!(daemon.exec(&id, &["sh", "-c", "echo alive & wait $!"]).await, "alive");
}

#[tokio::test]
async fn hundreds_of_dead_containers() {
    requires!(Root);
    const COUNT: usize = 200;
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let config = pod(&daemon, "p");
    let pod = daemon.run_pod(&config).await;
    let mut ids = Vec::new();
    for number in 0..COUNT {
        let mut container = container(&format!("c{number}"), &["true"]);
        container.image.as_mut().expect("an image").image = BUSYBOX.to_owned();
        ids.push(daemon.run(&pod, &container, &config).await);
    }
    for id in &ids {
        assert_eq!(daemon.wait_for_end(id).await.exit_code, 0);
    }
    let open = fs::read_dir(format!("/proc/{}/fd", daemon.pid())).expect("its descriptors").count();
    assert!(open < COUNT, "{open} descriptors for {COUNT} dead containers");
    let living = daemon.run(&pod, &shell("living", "sleep 1000"), &config).await;
    daemon.exec(&living, &["true"]).await;
    daemon.remove_pod(&pod).await;
}

/// On cgroup v1 only: on v2 the kernel may count the kill for the pod's cgroup alone, where nobody looks yet.
#[tokio::test]
async fn no_memory_for_the_executor() {
    requires!(Root, CgroupV1);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let (config, other) = (pod(&daemon, "limited"), pod(&daemon, "other"));
    let (limited, free) = (daemon.run_pod(&config).await, daemon.run_pod(&other).await);
    let neighbour = daemon.run(&free, &container("c", &["sleep", "1000"]), &other).await;
    let parent = &config.linux.as_ref().expect("a cgroup").cgroup_parent;
    let file = PathBuf::from(format!("/sys/fs/cgroup/memory{parent}/memory.limit_in_bytes"));
    fs::create_dir_all(file.parent().expect("a cgroup")).expect("make the pod's cgroup, as kubelet does");
    let limit = |bytes: &str| fs::write(&file, bytes).expect("limit the pod");
    // Too little for a cgroup below, where the kernel counts that, and for a process.
    for bytes in ["4096", "65536"] {
        limit(bytes);
        let id = daemon.create(&limited, &container(&format!("c{bytes}"), &["true"]), &config).await;
        let refused = daemon.try_start(&id).await.expect_err("there is no memory");
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
        assert!(refused.message().ends_with("out of memory"), "{refused:?}");
        let status = daemon.status(&id).await;
        assert_eq!((status.exit_code, status.reason.as_str()), (128, "StartError"), "{status:?}");
    }
    assert_eq!(daemon.exec(&neighbour, &["echo", "alive"]).await, "alive");
    limit("-1");
    let id = daemon.run(&limited, &container("c", &["sleep", "1000"]), &config).await;
    assert_eq!(daemon.exec(&id, &["echo", "alive"]).await, "alive");
}
