//! The stream of life-cycle events, as kubelet's evented mode reads it.

use berth::wire::{
    ContainerEventType::{self, *},
    ContainerMetadata,
    ContainerState::*,
    ContainerStatus, GetEventsRequest, ListContainersRequest,
    PodSandboxState::*,
    PodSandboxStatusRequest,
};
use tokio_stream::StreamExt as _;

use crate::support::{Daemon, container, patience, pod, shell};

type Events = tonic::Streaming<berth::wire::ContainerEventResponse>;

async fn next(events: &mut Events) -> berth::wire::ContainerEventResponse {
    let event = tokio::time::timeout(patience(10), events.next()).await;
    event.expect("an event comes in time").expect("the stream goes on").expect("an event")
}

#[tokio::test]
async fn every_event_carries_the_states_that_it_led_to() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let mut events = daemon.runtime().get_container_events(GetEventsRequest {}).await.expect("events").into_inner();
    let config = pod(&daemon, "p");
    let pod = daemon.run_pod(&config).await;
    let id = daemon.run(&pod, &container("c", &["sleep", "1000"]), &config).await;
    daemon.stop(&id, 0).await;
    daemon.remove(&id).await;
    daemon.remove_pod(&pod).await;

    let (pod_, id_) = (pod.as_str(), id.as_str());
    let mut last = 0;
    for (kind, subject, pod_state, container_state) in [
        (ContainerCreatedEvent, pod_, SandboxReady, None),
        (ContainerStartedEvent, pod_, SandboxReady, None),
        (ContainerCreatedEvent, id_, SandboxReady, Some(ContainerCreated)),
        (ContainerStartedEvent, id_, SandboxReady, Some(ContainerRunning)),
        (ContainerStoppedEvent, id_, SandboxReady, Some(ContainerExited)),
        (ContainerDeletedEvent, id_, SandboxReady, None),
        (ContainerStoppedEvent, pod_, SandboxNotready, None),
        (ContainerDeletedEvent, pod_, SandboxNotready, None),
    ] {
        let event = next(&mut events).await;
        assert_eq!((event.container_event_type(), event.container_id.as_str()), (kind, subject), "{event:?}");
        assert!(event.created_at > last, "{event:?} is not later than the one before");
        last = event.created_at;
        let status = event.pod_sandbox_status.expect("the pod's status");
        assert_eq!((status.id.as_str(), status.state()), (pod_, pod_state), "{status:?}");
        assert_eq!(status.metadata, config.metadata);
        assert!(!status.network.expect("network").ip.is_empty(), "kubelet keeps the address of a pod that has ended");
        let states: Vec<_> = event.containers_statuses.iter().map(ContainerStatus::state).collect();
        assert_eq!(states, container_state.into_iter().collect::<Vec<_>>(), "{kind:?} of {subject}");
        assert!(event.containers_statuses.iter().all(|status| status.id == id && !status.image_ref.is_empty()));
    }
}

#[tokio::test]
async fn an_end_that_nobody_asked_for_is_told_with_its_code() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let mut events = daemon.runtime().get_container_events(GetEventsRequest {}).await.expect("events").into_inner();
    let config = pod(&daemon, "p");
    let pod = daemon.run_pod(&config).await;
    let id = daemon.run(&pod, &shell("c", "exit 3"), &config).await;
    let stopped = loop {
        let event = next(&mut events).await;
        if event.container_event_type() == ContainerStoppedEvent {
            break event;
        }
    };
    assert_eq!(stopped.container_id, id);
    let [status] = &stopped.containers_statuses[..] else { panic!("one container: {stopped:?}") };
    assert_eq!((status.state(), status.exit_code, status.reason.as_str()), (ContainerExited, 3, "Error"));
    assert!(status.finished_at > 0 && status.finished_at <= stopped.created_at, "{status:?}");
}

#[tokio::test]
async fn every_reader_gets_all_events_and_the_streams_end_with_the_daemon_alone() {
    requires!(Root);
    let mut daemon = Daemon::start().await;
    let mut readers = Vec::new();
    for _ in 0..3 {
        let stream = daemon.runtime().get_container_events(GetEventsRequest {}).await;
        readers.push(stream.expect("events").into_inner());
    }
    let pod = daemon.run_pod(&pod(&daemon, "p")).await;
    for reader in &mut readers {
        let kinds = [next(reader).await, next(reader).await].map(|event| event.container_event_type());
        assert_eq!(kinds, [ContainerEventType::ContainerCreatedEvent, ContainerStartedEvent], "of pod {pod}");
    }
    daemon.terminate().await;
    for reader in &mut readers {
        assert!(reader.next().await.is_none_or(|last| last.is_err()), "the stream goes on without a daemon");
    }
    daemon.start_again().await;
}

/// Of several containers of one name kubelet takes the first as the present one.
#[tokio::test]
async fn the_newest_container_of_a_pod_comes_first() {
    requires!(Root);
    let mut daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let config = pod(&daemon, "p");
    let pod = daemon.run_pod(&config).await;
    let mut events = daemon.runtime().get_container_events(GetEventsRequest {}).await.expect("events").into_inner();
    let mut attempts = Vec::new();
    for attempt in 0..6 {
        let mut container = container("c", &["true"]);
        container.metadata = Some(ContainerMetadata { name: "c".to_owned(), attempt });
        daemon.create(&pod, &container, &config).await;
        attempts.insert(0, attempt);
        let statuses = next(&mut events).await.containers_statuses;
        assert_eq!(statuses.iter().map(attempt_of).collect::<Vec<_>>(), attempts, "in an event");
    }
    for daemon_is in ["first", "next"] {
        let request = PodSandboxStatusRequest { pod_sandbox_id: pod.clone(), verbose: false };
        let told = daemon.runtime().pod_sandbox_status(request).await.expect("status").into_inner();
        assert_eq!(told.containers_statuses.iter().map(attempt_of).collect::<Vec<_>>(), attempts, "{daemon_is} daemon");
        let listed = daemon.runtime().list_containers(ListContainersRequest::default()).await.expect("a list");
        let listed = listed.into_inner().containers;
        let listed: Vec<_> = listed.iter().filter_map(|one| Some(one.metadata.as_ref()?.attempt)).collect();
        assert_eq!(listed, attempts, "{daemon_is} daemon");
        daemon.kill();
        daemon.start_again().await;
    }
}

fn attempt_of(status: &ContainerStatus) -> u32 {
    status.metadata.as_ref().expect("metadata").attempt
}
