//! Containers from Create to Remove.

use std::time::{Duration, Instant};

use berth::wire::{
    ContainerFilter, ContainerState, ContainerStateValue, ContainerStatusRequest, KeyValue, ListContainersRequest,
    ListPodSandboxRequest, Signal,
};
use serde_json::json;
use tonic::Code;

use crate::support::{Archive, BUSYBOX, Daemon, container, eventually, log_text, pod, refusal, shell};

async fn list(daemon: &Daemon, filter: ContainerFilter) -> Vec<String> {
    let request = ListContainersRequest { filter: Some(filter) };
    let containers = daemon.runtime().list_containers(request).await.expect("list containers").into_inner().containers;
    containers.into_iter().map(|container| container.id).collect()
}

#[tokio::test]
async fn a_container_is_created_runs_ends_and_goes() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let pod_config = pod(&daemon, "p");
    let pod = daemon.run_pod(&pod_config).await;
    let mut config = container("c", &["sleep", "1000"]);
    config.labels.insert("l".into(), "v".into());
    config.annotations.insert("io.kubernetes.container.hash".into(), "abc".into());
    let id = daemon.create(&pod, &config, &pod_config).await;

    let created = daemon.status(&id).await;
    assert_eq!(created.state(), ContainerState::ContainerCreated);
    assert!(created.created_at > 0);
    assert_eq!((created.started_at, created.finished_at), (0, 0));
    assert_eq!(created.metadata, config.metadata);
    assert_eq!((&created.labels, &created.annotations), (&config.labels, &config.annotations));
    assert_eq!(created.image.as_ref().expect("an image").image, format!("docker.io/library/{BUSYBOX}"));
    assert!(!created.image_ref.is_empty() && created.image_id.starts_with("sha256:"), "{created:?}");
    assert_eq!(created.log_path, format!("{}/c.log", pod_config.log_directory));

    daemon.try_start(&id).await.expect("start");
    let running = daemon.status(&id).await;
    assert_eq!(running.state(), ContainerState::ContainerRunning);
    assert!(running.started_at >= running.created_at);
    let (code, _) = refusal(daemon.try_start(&id).await.map(tonic::Response::new));
    assert_eq!(code, Code::FailedPrecondition);

    daemon.stop(&id, 0).await;
    let ended = daemon.status(&id).await;
    assert_eq!(ended.state(), ContainerState::ContainerExited);
    assert_eq!((ended.exit_code, ended.reason.as_str()), (137, "Error"));
    assert!(ended.finished_at >= ended.started_at);
    daemon.stop(&id, 0).await;

    daemon.remove(&id).await;
    daemon.remove(&id).await;
    let request = ContainerStatusRequest { container_id: id.clone(), verbose: false };
    assert_eq!(refusal(daemon.runtime().container_status(request).await).0, Code::NotFound);
    daemon.stop(&id, 0).await;
}

#[tokio::test]
async fn exit_codes_and_reasons_are_kept() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    for (script, code, reason) in [
        ("exit 0", 0, "Completed"),
        ("exit 3", 3, "Error"),
        ("exit 255", 255, "Error"),
        ("kill -TERM $$", 143, "Error"),
        ("kill -KILL $$", 137, "Error"),
    ] {
        // PID 1 is deaf to signals that it does not handle, so the signal goes to a child.
        let script = format!("sh -c '{script}'; exit $?");
        let (status, _) = daemon.run_to_end(&shell("c", &script)).await;
        assert_eq!((status.exit_code, status.reason.as_str()), (code, reason), "{script}");
    }
}

#[tokio::test]
async fn a_program_that_cannot_be_executed_is_a_start_error() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let pod_config = pod(&daemon, "p");
    let pod = daemon.run_pod(&pod_config).await;
    for (number, (program, cause)) in
        [("/no/such/program", "no such file"), ("/etc/passwd", "permission denied"), ("/etc", "is a directory")]
            .into_iter()
            .enumerate()
    {
        let id = daemon.create(&pod, &container(&format!("c{number}"), &[program]), &pod_config).await;
        let (_, message) = refusal(daemon.try_start(&id).await.map(tonic::Response::new));
        let message = message.to_lowercase();
        assert!(message.contains(program) && message.contains(cause), "{message}");
        let status = daemon.status(&id).await;
        assert_eq!(status.state(), ContainerState::ContainerExited);
        assert_eq!((status.exit_code, status.reason.as_str()), (128, "StartError"));
        assert!(!status.message.is_empty());
    }
}

#[tokio::test]
async fn the_stop_signal_is_the_requests_or_the_images_or_term() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let quits = Archive::busybox().with_config(&json!({ "StopSignal": "SIGQUIT" })).oci_layout("quits:latest");
    daemon.import(quits, "").await.expect("import");
    let pod_config = pod(&daemon, "p");
    let pod = daemon.run_pod(&pod_config).await;

    let script =
        "for s in TERM QUIT USR1; do trap \"echo got $s; exit 7\" $s; done; echo ready; while :; do sleep 0.05; done";
    for (name, image, signal, got, told) in [
        ("term", BUSYBOX, Signal::RuntimeDefault, "TERM", Signal::Sigterm),
        ("image", "quits:latest", Signal::RuntimeDefault, "QUIT", Signal::Sigquit),
        ("request", "quits:latest", Signal::Sigusr1, "USR1", Signal::Sigusr1),
    ] {
        let mut config = shell(name, script);
        config.image.as_mut().expect("an image").image = image.to_owned();
        config.stop_signal = signal.into();
        let id = daemon.run(&pod, &config, &pod_config).await;
        let status = daemon.status(&id).await;
        assert_eq!(status.stop_signal(), told, "{name}");
        eventually("the traps are set", async || log_text(&status).contains("ready")).await;
        daemon.stop(&id, 30).await;
        let status = daemon.status(&id).await;
        assert_eq!(status.exit_code, 7, "{name}");
        assert!(log_text(&status).contains(&format!("got {got}")), "{name}: {}", log_text(&status));
    }
}

#[tokio::test]
async fn what_ignores_its_stop_signal_is_killed_after_the_grace() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let pod_config = pod(&daemon, "p");
    let pod = daemon.run_pod(&pod_config).await;
    let id = daemon.run(&pod, &shell("c", "trap '' TERM; while :; do sleep 1; done"), &pod_config).await;
    let started = Instant::now();
    daemon.stop(&id, 1).await;
    assert!(started.elapsed() >= Duration::from_secs(1), "killed before its time");
    assert_eq!(daemon.status(&id).await.exit_code, 137);
}

#[tokio::test]
async fn a_shorter_stop_overtakes_a_longer_one() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let pod_config = pod(&daemon, "p");
    let pod = daemon.run_pod(&pod_config).await;
    let id = daemon.run(&pod, &shell("c", "trap '' TERM; while :; do sleep 1; done"), &pod_config).await;
    let started = Instant::now();
    let long = daemon.stop(&id, 600);
    let short = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        daemon.stop(&id, 0).await;
    };
    tokio::join!(long, short);
    assert!(started.elapsed() < Duration::from_secs(60));
    assert_eq!(daemon.status(&id).await.exit_code, 137);
}

#[tokio::test]
async fn a_container_that_goes_down_takes_its_whole_family_along() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let config = shell("c", "(setsid sleep 12321 &) ; exit 0");
    let (status, _) = daemon.run_to_end(&config).await;
    assert_eq!(status.exit_code, 0);
    assert!(!daemon.leftovers().processes.iter().any(|(_, line)| line.contains("sleep 12321")));
}

#[tokio::test]
async fn a_running_container_can_be_removed_at_once() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let pod_config = pod(&daemon, "p");
    let pod = daemon.run_pod(&pod_config).await;
    let id = daemon.run(&pod, &container("c", &["sleep", "1000"]), &pod_config).await;
    let log = daemon.status(&id).await.log_path;
    daemon.remove(&id).await;
    assert!(list(&daemon, ContainerFilter::default()).await.is_empty());
    assert!(std::path::Path::new(&log).exists(), "the log is the caller's, and gone");
}

#[tokio::test]
async fn lists_are_filtered_by_id_state_pod_and_labels() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let (left_config, right_config) = (pod(&daemon, "left"), pod(&daemon, "right"));
    let (left, right) = (daemon.run_pod(&left_config).await, daemon.run_pod(&right_config).await);
    let mut labelled = container("a", &["sleep", "1000"]);
    labelled.labels.insert("app".into(), "a".into());
    let running = daemon.run(&left, &labelled, &left_config).await;
    let created = daemon.create(&right, &container("b", &["sleep", "1000"]), &right_config).await;

    let by_state = |state: ContainerState| ContainerFilter {
        state: Some(ContainerStateValue { state: state.into() }),
        ..Default::default()
    };
    let by_pod = |pod: &str| ContainerFilter { pod_sandbox_id: pod.to_owned(), ..Default::default() };
    let by_id = |id: &str| ContainerFilter { id: id.to_owned(), ..Default::default() };
    let mut by_label = ContainerFilter::default();
    by_label.label_selector.insert("app".into(), "a".into());
    assert_eq!(list(&daemon, by_state(ContainerState::ContainerRunning)).await, [running.as_str()]);
    assert_eq!(list(&daemon, by_state(ContainerState::ContainerCreated)).await, [created.as_str()]);
    assert!(list(&daemon, by_state(ContainerState::ContainerExited)).await.is_empty());
    assert_eq!(list(&daemon, by_pod(&right)).await, [created.as_str()]);
    assert_eq!(list(&daemon, by_pod(&right[..12])).await, [created.as_str()]);
    assert_eq!(list(&daemon, by_id(&running[..12])).await, [running.as_str()]);
    assert_eq!(list(&daemon, by_label).await, [running.as_str()]);

    let request = ListContainersRequest::default();
    let all = daemon.runtime().list_containers(request).await.expect("list").into_inner().containers;
    assert_eq!(all.len(), 2);
    for container in all {
        assert!(container.image.is_some() && container.metadata.is_some() && container.created_at > 0, "{container:?}");
        let status = daemon.status(&container.id).await;
        assert_eq!((container.image_ref, container.image_id), (status.image_ref, status.image_id));
    }
}

#[tokio::test]
async fn the_image_says_what_runs_unless_the_request_does() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let image = Archive::busybox().with_config(&json!({
        "Entrypoint": ["/bin/echo", "entry"], "Cmd": ["command"], "Env": ["PATH=/bin", "COLOUR=red"], "WorkingDir": "/var/new",
    }));
    daemon.import(image.oci_layout(BUSYBOX), "").await.expect("import");
    let text = async |command: &[&str], args: &[&str]| {
        let mut config = container("c", command);
        config.args = args.iter().map(|&word| word.to_owned()).collect();
        daemon.run_to_end(&config).await.1
    };
    assert_eq!(text(&[], &[]).await, "entry command\n");
    assert_eq!(text(&[], &["args"]).await, "entry args\n");
    assert_eq!(text(&["/bin/echo", "own"], &[]).await, "own\n");
    assert_eq!(text(&["echo", "own"], &["args"]).await, "own args\n");
    assert_eq!(text(&["sh", "-c", "pwd; echo $COLOUR"], &[]).await, "/var/new\nred\n");
}

#[tokio::test]
async fn environment_and_working_directory_are_the_requests() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let mut config = shell("c", "pwd; echo \"$A|$B|$HOSTNAME|$HOME\"");
    config.working_dir = "/tmp/made/here".into();
    let pair = |key: &str, value: &str| KeyValue { key: key.into(), value: value.into() };
    config.envs = vec![pair("A", "1"), pair("B", "x=y z"), pair("A", "2")];
    let (_, text) = daemon.run_to_end(&config).await;
    assert_eq!(text, "/tmp/made/here\n2|x=y z|to-end-0|/root\n");
}

#[tokio::test]
async fn a_container_name_is_used_once_in_a_pod() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let pod_config = pod(&daemon, "p");
    let pod = daemon.run_pod(&pod_config).await;
    let id = daemon.run(&pod, &container("c", &["sleep", "1000"]), &pod_config).await;
    match daemon.try_create(&pod, &container("c", &["sleep", "1000"]), &pod_config).await {
        Ok(again) => assert_eq!(again, id),
        Err(status) => assert_eq!(status.code(), Code::AlreadyExists, "{status:?}"),
    }
    let mut next = container("c", &["sleep", "1000"]);
    next.metadata.as_mut().expect("metadata").attempt = 1;
    assert_ne!(daemon.run(&pod, &next, &pod_config).await, id);
}

#[tokio::test]
async fn a_stopped_pod_takes_no_containers() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let pod_config = pod(&daemon, "p");
    let pod = daemon.run_pod(&pod_config).await;
    daemon.stop_pod(&pod).await;
    let answer = daemon.try_create(&pod, &container("c", &["true"]), &pod_config).await;
    assert_eq!(refusal(answer.map(tonic::Response::new)).0, Code::FailedPrecondition);
}

#[tokio::test]
async fn verbose_status_names_the_process() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let pod_config = pod(&daemon, "p");
    let pod = daemon.run_pod(&pod_config).await;
    let id = daemon.run(&pod, &container("c", &["sleep", "1000"]), &pod_config).await;
    let pid = daemon.container_pid(&id).await;
    let command = std::fs::read(format!("/proc/{pid}/cmdline")).expect("the process");
    assert_eq!(command, b"sleep\x001000\x00");
}

/// kubelet takes what a list leaves out for absent, and makes it again.
#[tokio::test]
async fn whatever_is_listed_is_whole() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let work = async {
        for number in 0..12 {
            let config = pod(&daemon, &format!("p{number}"));
            let pod = daemon.run_pod(&config).await;
            daemon.run(&pod, &container("c", &["sleep", "1000"]), &config).await;
        }
    };
    let look = async {
        loop {
            let pods = daemon
                .runtime()
                .list_pod_sandbox(ListPodSandboxRequest::default())
                .await
                .expect("list")
                .into_inner()
                .items;
            for pod in pods {
                assert!(pod.id.len() == 64 && pod.metadata.is_some() && pod.created_at > 0, "{pod:?}");
                let network = daemon.pod_status(&pod.id).await.network.expect("a network");
                assert!(!network.ip.is_empty(), "a pod without an address is listed");
            }
            let listed =
                daemon.runtime().list_containers(ListContainersRequest::default()).await.expect("list").into_inner();
            for container in listed.containers {
                assert!(container.metadata.is_some() && container.created_at > 0, "{container:?}");
                assert!(container.image.as_ref().is_some_and(|image| image.image == BUSYBOX), "{container:?}");
                assert!(!container.image_ref.is_empty() && !container.image_id.is_empty(), "{container:?}");
                assert_eq!(daemon.status(&container.id).await.image_id, container.image_id);
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = work => {}
        () = look => {}
    }
}
