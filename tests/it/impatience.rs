//! Callers that give up, as kubelet does when an answer takes too long or when it is restarted.

use std::{fs, path::Path};

use berth::wire::{
    ContainerState, CreateContainerRequest, ExecSyncRequest, ListContainersRequest, ListPodSandboxRequest,
    RunPodSandboxRequest, StartContainerRequest, StopContainerRequest,
};
use tonic::{Code, Response, Status};

use crate::support::{Daemon, container, eventually, log_text, pod, refusal, shell};

/// A script that says how often it was told to end, and does not.
const COUNTS_TERMS: &str = "n=0; trap 'n=$((n+1)); echo term $n' TERM; echo ready; while :; do sleep 0.05; done";

/// Makes a request and leaves as soon as something has become so.
async fn leave_when<T: Send + 'static>(
    request: impl Future<Output = Result<Response<T>, Status>> + Send + 'static,
    mut is_so: impl AsyncFnMut() -> bool,
) {
    let request = tokio::spawn(request);
    while !request.is_finished() && !is_so().await {
        tokio::task::yield_now().await;
    }
    request.abort();
    let _ = request.await;
}

fn entries(directory: &Path) -> usize {
    fs::read_dir(directory).map_or(0, Iterator::count)
}

#[tokio::test]
async fn a_pod_whose_caller_left_is_there_for_who_asks_again() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let directory = daemon.path("run/pods");
    for number in 0..8 {
        let request = RunPodSandboxRequest { config: Some(pod(&daemon, &format!("p{number}"))), ..Default::default() };
        let (mut runtime, again) = (daemon.runtime(), request.clone());
        let before = entries(&directory);
        leave_when(async move { runtime.run_pod_sandbox(request).await }, async || entries(&directory) > before).await;
        let id = daemon.runtime().run_pod_sandbox(again).await.expect("run the pod").into_inner().pod_sandbox_id;
        assert!(!daemon.pod_status(&id).await.network.expect("a network").ip.is_empty());
        let listed = daemon.runtime().list_pod_sandbox(ListPodSandboxRequest::default()).await.expect("list");
        assert_eq!(listed.into_inner().items.len(), number + 1, "each name has one pod");
    }
}

/// A caller may also leave when the answer is on its way, or be answered by a daemon that dies before it is heard.
#[tokio::test]
async fn who_did_not_hear_the_answer_gets_it_again() {
    requires!(Root);
    let mut daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let pod_config = pod(&daemon, "p");
    let pod = daemon.run_pod(&pod_config).await;
    let id = daemon.create(&pod, &container("c", &["sleep", "1000"]), &pod_config).await;
    for _ in 0..2 {
        assert_eq!(daemon.run_pod(&pod_config).await, pod);
        assert_eq!(daemon.create(&pod, &container("c", &["sleep", "1000"]), &pod_config).await, id);
        daemon.kill();
        daemon.start_again().await;
    }
    let code = async |config: &_| refusal(daemon.try_create(&pod, config, &pod_config).await.map(Response::new)).0;
    assert_eq!(code(&container("c", &["sleep", "2000"])).await, Code::AlreadyExists, "another one of that name");
    daemon.try_start(&id).await.expect("start");
    assert_eq!(code(&container("c", &["sleep", "1000"])).await, Code::AlreadyExists, "it has been used");
    daemon.stop_pod(&pod).await;
    let request = RunPodSandboxRequest { config: Some(pod_config), ..Default::default() };
    assert_eq!(refusal(daemon.runtime().run_pod_sandbox(request).await).0, Code::AlreadyExists, "it was stopped");
}

#[tokio::test]
async fn a_container_whose_caller_left_is_there_for_who_asks_again() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let pod_config = pod(&daemon, "p");
    let pod_sandbox_id = daemon.run_pod(&pod_config).await;
    let directory = daemon.path("root/containers");
    for number in 0..8 {
        let request = CreateContainerRequest {
            pod_sandbox_id: pod_sandbox_id.clone(),
            config: Some(container(&format!("c{number}"), &["sleep", "1000"])),
            sandbox_config: Some(pod_config.clone()),
        };
        let (mut runtime, again) = (daemon.runtime(), request.clone());
        let before = entries(&directory);
        leave_when(async move { runtime.create_container(request).await }, async || entries(&directory) > before).await;
        let id = daemon.runtime().create_container(again).await.expect("create it").into_inner().container_id;

        let mut runtime = daemon.runtime();
        let request = StartContainerRequest { container_id: id.clone() };
        let directory = daemon.path(&format!("run/pods/{pod_sandbox_id}"));
        leave_when(async move { runtime.start_container(request).await }, async || directory.exists()).await;
        // The first request may not have arrived.
        if let Err(status) = daemon.try_start(&id).await {
            assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
        }
        assert_eq!(daemon.status(&id).await.state(), ContainerState::ContainerRunning);
        let listed = daemon.runtime().list_containers(ListContainersRequest::default()).await.expect("list");
        assert_eq!(listed.into_inner().containers.len(), number + 1, "each name has one container");
    }
}

#[tokio::test]
async fn nobody_is_given_what_has_been_used_since_its_caller_left() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let config = pod(&daemon, "p");
    let request = RunPodSandboxRequest { config: Some(config.clone()), ..Default::default() };
    let (mut runtime, again, pods) = (daemon.runtime(), request.clone(), daemon.path("run/pods"));
    leave_when(async move { runtime.run_pod_sandbox(request).await }, async || entries(&pods) > 0).await;
    let listed = async || {
        let pods = daemon.runtime().list_pod_sandbox(ListPodSandboxRequest::default()).await.expect("list");
        pods.into_inner().items.pop().map(|pod| pod.id)
    };
    eventually("the pod is there", async || listed().await.is_some()).await;
    let pod = listed().await.expect("the pod");

    let sleeper = container("c", &["sleep", "1000"]);
    let (mut runtime, containers) = (daemon.runtime(), daemon.path("root/containers"));
    let request = CreateContainerRequest {
        pod_sandbox_id: pod.clone(),
        config: Some(sleeper.clone()),
        sandbox_config: Some(config.clone()),
    };
    let before = entries(&containers);
    leave_when(async move { runtime.create_container(request).await }, async || entries(&containers) > before).await;
    let listed = async || {
        let containers = daemon.runtime().list_containers(ListContainersRequest::default()).await.expect("list");
        containers.into_inner().containers.pop().map(|container| container.id)
    };
    eventually("the container is there", async || listed().await.is_some()).await;
    daemon.try_start(&listed().await.expect("the container")).await.expect("start");
    let created = daemon.try_create(&pod, &sleeper, &config).await.map(Response::new);
    assert_eq!(refusal(created).0, Code::AlreadyExists);

    daemon.stop_pod(&pod).await;
    assert_eq!(refusal(daemon.runtime().run_pod_sandbox(again).await).0, Code::AlreadyExists);
}

/// A running container with [`COUNTS_TERMS`].
async fn counting(daemon: &Daemon) -> String {
    daemon.import_busybox().await;
    let config = pod(daemon, "p");
    let pod = daemon.run_pod(&config).await;
    let id = daemon.run(&pod, &shell("c", COUNTS_TERMS), &config).await;
    says(daemon, &id, "ready\n").await;
    id
}

/// Waits until all that a container has written is `text`.
async fn says(daemon: &Daemon, container: &str, text: &str) {
    let status = daemon.status(container).await;
    eventually(text, async || log_text(&status) == text).await;
}

#[tokio::test]
async fn a_stop_goes_on_without_its_caller_and_signals_once_however_many_ask() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let id = counting(&daemon).await;
    let stop = |timeout| {
        let (mut runtime, request) = (daemon.runtime(), StopContainerRequest { container_id: id.clone(), timeout });
        async move { runtime.stop_container(request).await }
    };
    let status = daemon.status(&id).await;
    leave_when(stop(600), async || log_text(&status).contains("term 1")).await;
    for grace in [600, 1200] {
        let more = tokio::time::timeout(std::time::Duration::from_millis(300), stop(grace));
        assert!(more.await.is_err(), "a stop was answered while the container runs");
    }
    assert_eq!(daemon.status(&id).await.state(), ContainerState::ContainerRunning);
    says(&daemon, &id, "ready\nterm 1\n").await;

    let last = tokio::spawn(stop(1));
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    last.abort();
    let ended = daemon.wait_for_end(&id).await;
    assert_eq!((ended.exit_code, ended.reason.as_str()), (137, "Error"));
    assert_eq!(log_text(&ended), "ready\nterm 1\n");
}

#[tokio::test]
async fn a_stop_that_its_daemon_did_not_survive_can_be_asked_for_again() {
    requires!(Root);
    let mut daemon = Daemon::start().await;
    let id = counting(&daemon).await;
    let (mut runtime, request) = (daemon.runtime(), StopContainerRequest { container_id: id.clone(), timeout: 600 });
    let first = tokio::spawn(async move { runtime.stop_container(request).await });
    says(&daemon, &id, "ready\nterm 1\n").await;
    daemon.kill();
    first.await.expect("the task").expect_err("nobody answers any more");
    daemon.start_again().await;
    assert_eq!(daemon.status(&id).await.state(), ContainerState::ContainerRunning);
    daemon.stop(&id, 1).await;
    assert_eq!(daemon.status(&id).await.exit_code, 137);
}

#[tokio::test]
async fn a_command_ends_with_its_caller() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let (_, id) = daemon.run_sleeper().await;
    let runs = async || daemon.exec(&id, &["ps", "-o", "args"]).await.contains("sleep 4343");
    let cmd = ["sh", "-c", "sleep 4343 & (setsid sleep 4343) & sleep 4343"].map(str::to_owned).to_vec();
    let (mut runtime, request) = (daemon.runtime(), ExecSyncRequest { container_id: id.clone(), cmd, timeout: 0 });
    leave_when(async move { runtime.exec_sync(request).await }, runs).await;
    eventually("the command is gone", async || !runs().await).await;
    assert_eq!(daemon.status(&id).await.state(), ContainerState::ContainerRunning);
}
