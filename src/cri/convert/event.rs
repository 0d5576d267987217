//! Life-cycle events.

use super::{container, pod};
use crate::{
    engine::{ContainerView, Event, EventKind, PodView},
    wire,
};

/// An event with the states it led to. A pod that is gone has no status any more.
pub(crate) fn to_wire(
    event: &Event,
    pod: Option<&PodView>,
    containers: &[ContainerView],
) -> wire::ContainerEventResponse {
    let kind = match event.kind {
        EventKind::Created => wire::ContainerEventType::ContainerCreatedEvent,
        EventKind::Started => wire::ContainerEventType::ContainerStartedEvent,
        EventKind::Stopped => wire::ContainerEventType::ContainerStoppedEvent,
        EventKind::Deleted => wire::ContainerEventType::ContainerDeletedEvent,
    };
    wire::ContainerEventResponse {
        container_id: event.subject.to_string(),
        container_event_type: kind as i32,
        created_at: event.at.0,
        pod_sandbox_status: pod.map(pod::status_to_wire),
        containers_statuses: containers.iter().map(container::status_to_wire).collect(),
    }
}
