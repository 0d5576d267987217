//! The daemon comes and goes; pods do not notice.

use std::{fs, time::Duration};

use berth::{
    runtime::cgroup::{Hierarchy, Limits},
    types::Digest,
    wire::{ContainerState, ListContainersRequest, ListPodSandboxRequest, PodSandboxState, RemovePodSandboxRequest},
};

use crate::support::{Daemon, container, eventually, log_text, pod, shell};

#[tokio::test]
async fn a_killed_daemon_finds_everything_again() {
    requires!(Root);
    let mut daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let mut config = pod(&daemon, "p");
    config.annotations.insert("a".into(), "b".into());
    let pod = daemon.run_pod(&config).await;
    let script = "i=0; while :; do echo $i; i=$((i+1)); sleep 0.05; done";
    let running = daemon.run(&pod, &shell("running", script), &config).await;
    let ended = daemon.run(&pod, &shell("ended", "exit 9"), &config).await;
    let created = daemon.create(&pod, &container("created", &["sleep", "1000"]), &config).await;
    daemon.wait_for_end(&ended).await;
    let before = [daemon.status(&running).await, daemon.status(&ended).await, daemon.status(&created).await];
    let pod_before = daemon.pod_status(&pod).await;
    let pid = daemon.container_pid(&running).await;

    daemon.kill();
    let log_when_killed = fs::metadata(&before[0].log_path).expect("the log").len();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(
        fs::metadata(&before[0].log_path).expect("the log").len() > log_when_killed,
        "nothing was logged meanwhile"
    );
    daemon.start_again().await;

    assert_eq!(daemon.pod_status(&pod).await, pod_before);
    assert_eq!([daemon.status(&running).await, daemon.status(&ended).await, daemon.status(&created).await], before);
    assert_eq!(daemon.container_pid(&running).await, pid);
    daemon.exec(&running, &["true"]).await;
    daemon.try_start(&created).await.expect("start what was created before");
    daemon.stop(&running, 0).await;
    let text = log_text(&daemon.status(&running).await);
    assert!(text.lines().zip(0..).all(|(line, number): (&str, i32)| line == number.to_string()), "lines are lost");
    assert_eq!(daemon.status(&running).await.exit_code, 137);
}

#[tokio::test]
async fn an_end_while_the_daemon_is_away_is_told_later() {
    requires!(Root);
    let mut daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let config = pod(&daemon, "p");
    let pod = daemon.run_pod(&config).await;
    let go = daemon.path("go");
    fs::create_dir(&go).expect("make a directory");
    let mut waiting = shell("c", "while ! test -e /go/on; do sleep 0.02; done; echo last words; exit 33");
    waiting.mounts = vec![berth::wire::Mount {
        host_path: go.display().to_string(),
        container_path: "/go".into(),
        ..Default::default()
    }];
    let id = daemon.run(&pod, &waiting, &config).await;
    let log = daemon.status(&id).await.log_path;
    daemon.kill();
    fs::write(go.join("on"), "").expect("let it go on");
    eventually("it says its last words", async || {
        fs::read_to_string(&log).is_ok_and(|text| text.contains("last words"))
    })
    .await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    daemon.start_again().await;
    let status = daemon.status(&id).await;
    assert_eq!(
        (status.state(), status.exit_code, status.reason.as_str()),
        (ContainerState::ContainerExited, 33, "Error")
    );
    assert!(status.finished_at >= status.started_at && status.started_at > 0);
}

#[tokio::test]
async fn a_terminated_daemon_leaves_the_pods_running_and_ends_with_success() {
    requires!(Root);
    let mut daemon = Daemon::start().await;
    let (pod, id) = daemon.run_sleeper().await;
    let pid = daemon.container_pid(&id).await;
    daemon.terminate().await;
    assert!(fs::metadata(format!("/proc/{pid}")).is_ok(), "the container ended with the daemon");
    daemon.start_again().await;
    assert_eq!(daemon.status(&id).await.state(), ContainerState::ContainerRunning);
    assert_eq!(daemon.pod_status(&pod).await.state(), PodSandboxState::SandboxReady);
}

#[tokio::test]
async fn a_dead_monitor_is_noticed_and_its_pod_can_be_removed() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let (pod, id) = daemon.run_sleeper().await;
    let monitor = daemon.monitor_pid(&id).await;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(monitor), nix::sys::signal::Signal::SIGKILL).expect("kill it");
    let is_over = async || {
        !matches!(daemon.status(&id).await.state(), ContainerState::ContainerRunning | ContainerState::ContainerCreated)
    };
    eventually("the container is known not to be watched any more", is_over).await;
    daemon.stop_pod(&pod).await;
    let request = RemovePodSandboxRequest { pod_sandbox_id: pod };
    daemon.runtime().remove_pod_sandbox(request).await.expect("remove the pod");
}

#[tokio::test]
async fn a_monitor_that_stands_still_keeps_its_pod_and_holds_up_no_daemon() {
    use nix::{
        sys::signal::{Signal, kill},
        unistd::Pid,
    };
    requires!(Root);
    let mut daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let (config, other) = (pod(&daemon, "p"), pod(&daemon, "q"));
    let (pod, stopped) = (daemon.run_pod(&config).await, daemon.run_pod(&other).await);
    let id = daemon.run(&pod, &container("c", &["sleep", "1000"]), &config).await;
    let in_stopped = daemon.run(&stopped, &container("c", &["sleep", "1000"]), &other).await;
    let monitors = [daemon.monitor_pid(&id).await, daemon.monitor_pid(&in_stopped).await].map(Pid::from_raw);
    for monitor in monitors {
        kill(monitor, Signal::SIGSTOP).expect("stop it");
    }
    daemon.kill();
    daemon.start_again().await;
    assert_eq!(daemon.pod_status(&pod).await.state(), PodSandboxState::SandboxReady);
    assert_eq!(daemon.status(&id).await.state(), ContainerState::ContainerRunning);
    let refused = daemon.try_exec(&id, &["true"], 10).await.expect_err("nobody to ask");
    assert_eq!(refused.code(), tonic::Code::Unavailable, "{refused:?}");
    daemon.remove_pod(&stopped).await;
    let pid = daemon.container_pid(&id).await;
    kill(monitors[0], Signal::SIGCONT).expect("let it go on");
    eventually("its monitor is heard of", async || daemon.try_exec(&id, &["true"], 10).await.is_ok()).await;
    assert_eq!(daemon.container_pid(&id).await, pid);
}

#[tokio::test]
async fn a_cgroup_that_could_not_be_removed_is_removed_by_the_next_daemon() {
    requires!(Root);
    let mut daemon = Daemon::start().await;
    let (_, id) = daemon.run_sleeper().await;
    let runs = daemon.status(&id).await.state();
    daemon.kill();
    // What a daemon writes that could not remove a cgroup, of one that has a process in it, and half of such a note.
    let cgroups = Hierarchy::detect().expect("cgroups");
    let name = "ab".repeat(32);
    let path = format!("/{}/{name}", daemon.mark());
    let left = cgroups.create(&path, &Limits::default()).expect("make a cgroup");
    let mut process = std::process::Command::new("sleep").arg("1000").spawn().expect("start a process");
    left.add(process.id().cast_signed()).expect("put it in");
    let notes = daemon.path("run/cgroups");
    fs::create_dir_all(&notes).expect("make the directory of notes");
    let whole = notes.join(Digest::of(path.as_bytes()).to_string());
    let half = notes.join(Digest::of(b"another").to_string());
    fs::write(&whole, &path).expect("write a note");
    fs::write(&half, format!("/{}", daemon.mark())).expect("write half a note");
    let is_left = |daemon: &Daemon| daemon.leftovers().cgroups.iter().any(|cgroup| cgroup.ends_with(&name));
    assert!(is_left(&daemon));
    daemon.start_again().await;
    eventually("its process is killed", async || process.try_wait().expect("wait").is_some()).await;
    eventually("the cgroup is removed", async || !is_left(&daemon) && !whole.exists()).await;
    assert_eq!(daemon.status(&id).await.state(), runs, "a container was killed by half a note");
    fs::remove_file(half).expect("remove the other note");
}

#[tokio::test]
async fn addresses_and_ports_are_still_taken_after_a_restart() {
    requires!(Root);
    let mut daemon = Daemon::start().await;
    let mut config = pod(&daemon, "p");
    config.port_mappings =
        vec![berth::wire::PortMapping { container_port: 80, host_port: 12_000, ..Default::default() }];
    let one = daemon.run_pod(&config).await;
    let address = daemon.pod_status(&one).await.network.expect("a network").ip;
    daemon.kill();
    daemon.start_again().await;
    assert_eq!(daemon.pod_status(&one).await.network.expect("a network").ip, address);
    let two = daemon.run_pod(&pod(&daemon, "q")).await;
    assert_ne!(daemon.pod_status(&two).await.network.expect("a network").ip, address);
}

#[tokio::test]
async fn a_kill_in_the_middle_of_everything_leaves_nothing_half_made() {
    requires!(Root);
    let mut daemon = Daemon::start().await;
    daemon.import_busybox().await;
    for delay in [1, 3, 6, 10, 20, 40] {
        let busy = (0..4).map(|number| {
            let config = pod(&daemon, &format!("p{delay}-{number}"));
            let mut runtime = daemon.runtime();
            tokio::spawn(async move {
                let request = berth::wire::RunPodSandboxRequest { config: Some(config.clone()), ..Default::default() };
                let pod = runtime.run_pod_sandbox(request).await?.into_inner().pod_sandbox_id;
                let request = berth::wire::CreateContainerRequest {
                    pod_sandbox_id: pod,
                    config: Some(container("c", &["sleep", "1000"])),
                    sandbox_config: Some(config),
                };
                let container_id = runtime.create_container(request).await?.into_inner().container_id;
                runtime.start_container(berth::wire::StartContainerRequest { container_id }).await
            })
        });
        let busy: Vec<_> = busy.collect();
        tokio::time::sleep(Duration::from_millis(delay)).await;
        daemon.kill();
        futures_util::future::join_all(busy).await;
        daemon.start_again().await;
        let pods =
            daemon.runtime().list_pod_sandbox(ListPodSandboxRequest::default()).await.expect("list").into_inner();
        for pod in pods.items {
            assert!(pod.metadata.is_some() && pod.created_at > 0, "{pod:?}");
            daemon.remove_pod(&pod.id).await;
        }
        let containers = daemon.runtime().list_containers(ListContainersRequest::default()).await.expect("list");
        assert!(containers.into_inner().containers.is_empty());
        eventually("nothing is left", async || {
            let left = daemon.leftovers();
            left.mounts.is_empty()
                && left.files.is_empty()
                && left.cgroups.iter().all(|path| path.components().count() < 7)
        })
        .await;
    }
}
