use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::broadcast;

use super::{Engine, Event, EventKind, container::Container, pod::Pod};
use crate::types::{Id, Timestamp};

/// How many events a slow subscriber may be behind before it loses the oldest.
const BACKLOG: usize = 1024;

/// Tells subscribers what happens.
#[derive(Debug)]
pub(super) struct Events {
    subscribers: broadcast::Sender<Arc<Event>>,
    /// When the last event was. Held while an event is put together, so that of two events the later one has the later
    /// time and the newer states: a subscriber keeps the states with the latest time.
    last: Mutex<Timestamp>,
}

impl Default for Events {
    fn default() -> Self {
        Self { subscribers: broadcast::channel(BACKLOG).0, last: Mutex::new(Timestamp(0)) }
    }
}

impl Events {
    /// Hands out an event, unless nobody listens. `event` makes it from its time.
    fn tell(&self, event: impl FnOnce(Timestamp) -> Event) {
        if self.subscribers.receiver_count() == 0 {
            return;
        }
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Timestamp(Timestamp::now().0.max(last.0 + 1));
        // An error only says that the last subscriber has just left.
        let _ = self.subscribers.send(Arc::new(event(*last)));
    }
}

impl Engine {
    /// Life-cycle events from now on. A subscriber that falls far behind is told how many it missed.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Event>> {
        self.events.subscribers.subscribe()
    }

    /// Tells of an event of a pod itself.
    pub(super) fn tell_of_pod(&self, pod: &Pod, kind: EventKind) {
        self.tell(&pod.id, pod, kind);
    }

    /// Tells of an event of a container.
    pub(super) fn tell_of_container(&self, container: &Container, kind: EventKind) {
        self.tell(&container.id, &container.pod, kind);
    }

    fn tell(&self, subject: &Id, pod: &Pod, kind: EventKind) {
        self.events.tell(|at| Event {
            subject: subject.clone(),
            kind,
            at,
            pod: pod.view(),
            containers: pod.containers().iter().map(|container| container.view()).collect(),
        });
    }
}
