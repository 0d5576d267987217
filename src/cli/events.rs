//! `berth events`

use std::process::ExitCode;

use super::{
    Session,
    error::{Answer as _, Error},
    json,
};
use crate::{
    types::Timestamp,
    wire::{ContainerEventResponse, ContainerEventType, GetEventsRequest},
};

/// Print what happens to pods and containers, a line each, until it is interrupted.
pub(super) async fn perform(session: &mut Session) -> Result<ExitCode, Error> {
    let operation = "watch events";
    let mut events = session.engine.runtime.get_container_events(GetEventsRequest {}).await.during(operation)?;
    while let Some(event) = events.message().await.map(tonic::Response::new).during(operation)? {
        match session.json {
            true => super::print_line(&json::value(&event).to_string())?,
            false => super::print_line(&line(&event))?,
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// `TIME WHAT pod ID NAMESPACE/NAME`, or `TIME WHAT container ID NAME` of a container.
fn line(event: &ContainerEventResponse) -> String {
    let what = match event.container_event_type() {
        ContainerEventType::ContainerCreatedEvent => "created",
        ContainerEventType::ContainerStartedEvent => "started",
        ContainerEventType::ContainerStoppedEvent => "stopped",
        ContainerEventType::ContainerDeletedEvent => "deleted",
    };
    let (id, time) = (&event.container_id, Timestamp(event.created_at));
    let pod = event.pod_sandbox_status.as_ref().filter(|pod| pod.id == *id);
    let (kind, name) = match pod.and_then(|pod| pod.metadata.as_ref()) {
        Some(metadata) => ("pod", format!("{}/{}", metadata.namespace, metadata.name)),
        None => {
            let container = event.containers_statuses.iter().find(|container| container.id == *id);
            let metadata = container.and_then(|container| container.metadata.as_ref());
            ("container", metadata.map(|metadata| metadata.name.clone()).unwrap_or_default())
        }
    };
    // Names come from outside.
    format!("{time} {what} {kind} {id} {name}").trim_end().replace(|c: char| c.is_control(), "?")
}
