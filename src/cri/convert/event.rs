//! Life-cycle events.

use super::{container, pod};
use crate::{
    engine::{Event, EventKind},
    wire,
};

/// An event with the states it led to.
pub(crate) fn to_wire(event: &Event) -> wire::ContainerEventResponse {
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
        pod_sandbox_status: Some(pod::status_to_wire(&event.pod)),
        containers_statuses: event.containers.iter().map(container::status_to_wire).collect(),
    }
}
