//! Somebody who listens to what the daemon tells of pods and containers, which must be what it answers.

use std::collections::{BTreeMap, BTreeSet};

use berth::wire::{ContainerEventResponse, ContainerEventType, ContainerState, GetEventsRequest};
use tonic::{Status, Streaming};

use crate::{
    actor::Actor,
    support::{Daemon, patience},
};

/// A listener, at one stream of events after the other: each ends with its daemon.
pub(crate) struct Witness<'a> {
    actor: Actor<'a>,
    stream: Option<Streaming<ContainerEventResponse>>,
    /// How often the daemon had died when the stream began.
    deaths: u32,
    /// What was last told on this stream of a pod or container.
    told: BTreeMap<String, ContainerEventType>,
    /// Whose removal need not be told on this stream.
    excused: BTreeSet<String>,
}

impl<'a> Witness<'a> {
    pub(crate) fn new(actor: Actor<'a>) -> Self {
        Self { actor, stream: None, deaths: 0, told: BTreeMap::new(), excused: BTreeSet::new() }
    }

    /// Listens for ever.
    pub(crate) async fn listen(&mut self) -> std::convert::Infallible {
        loop {
            self.hear().await;
        }
    }

    /// Listens until all removals have been told.
    pub(crate) async fn finish(mut self) {
        let listen = async {
            while !self.missing().is_empty() {
                self.hear().await;
            }
        };
        let in_time = tokio::time::timeout(patience(10), listen).await.is_ok();
        self.actor.expect(in_time, || format!("nothing was told of the removal of {:#?}", self.missing()));
    }

    /// Removals that were answered and not told.
    fn missing(&self) -> Vec<String> {
        let promises = self.actor.world.promises.borrow();
        let is_told = |id: &String| self.told.get(id) == Some(&ContainerEventType::ContainerDeletedEvent);
        promises.removed().iter().filter(|id| !is_told(id) && !self.excused.contains(*id)).cloned().collect()
    }

    /// Hears one event, or the end of the stream, and begins the next one.
    async fn hear(&mut self) {
        let Some(stream) = &mut self.stream else { return self.begin().await };
        match stream.message().await {
            Ok(Some(event)) => self.check(event),
            end => {
                let has_died = self.actor.world.deaths() != self.deaths;
                self.actor.expect(has_died, || format!("the events have ended: {end:?}"));
                self.stream = None;
            }
        }
    }

    async fn begin(&mut self) {
        let world = self.actor.world;
        let ask = async |daemon: &Daemon| {
            let deaths = world.deaths();
            let stream = daemon.runtime().get_container_events(GetEventsRequest {}).await?;
            Ok::<_, Status>((stream.into_inner(), deaths))
        };
        let (stream, deaths) = self.actor.insist("events", ask).await;
        (self.stream, self.deaths) = (Some(stream), deaths);
        self.told.clear();
        self.excused = world.promises.borrow().begun_to_go();
    }

    /// One thing after the other is told, and what is told of a container is what it is in then.
    fn check(&mut self, event: ContainerEventResponse) {
        let kind = event.container_event_type();
        let before = self.told.insert(event.container_id.clone(), kind);
        self.actor.expect(before < Some(kind), || format!("after {before:?} came {event:#?}"));
        let status = event.containers_statuses.iter().find(|status| status.id == event.container_id);
        let state = status.map(|status| status.state());
        let fits = match kind {
            ContainerEventType::ContainerDeletedEvent => state.is_none(),
            ContainerEventType::ContainerStoppedEvent => state.is_none_or(|it| it == ContainerState::ContainerExited),
            ContainerEventType::ContainerStartedEvent => state != Some(ContainerState::ContainerCreated),
            ContainerEventType::ContainerCreatedEvent => true,
        };
        self.actor.expect(fits, || format!("{event:#?}"));
    }
}
