use tokio::sync::broadcast;

use super::{Event, EventKind};
use crate::types::{Id, Timestamp};

/// How many events a slow subscriber may be behind before it loses the oldest.
const BACKLOG: usize = 1024;

/// Tells subscribers what happens.
#[derive(Debug)]
pub(super) struct Events(broadcast::Sender<Event>);

impl Default for Events {
    fn default() -> Self {
        Self(broadcast::channel(BACKLOG).0)
    }
}

impl Events {
    pub(super) fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.0.subscribe()
    }

    /// Tells of an event of the pod itself.
    pub(super) fn pod(&self, pod: &Id, kind: EventKind) {
        self.container(pod, pod, kind);
    }

    /// Tells of an event of a container.
    pub(super) fn container(&self, container: &Id, pod: &Id, kind: EventKind) {
        // An error only says that nobody listens.
        let _ = self.0.send(Event { subject: container.clone(), pod: pod.clone(), kind, at: Timestamp::now() });
    }
}
