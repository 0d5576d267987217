//! GetContainerEvents.

use std::sync::Arc;

use futures_util::StreamExt as _;
use tokio::sync::broadcast;
use tokio_stream::wrappers::{BroadcastStream, errors::BroadcastStreamRecvError};
use tonic::Status;

use super::{Door, batch::Batches};
use crate::{
    cri::convert::event,
    engine::{ContainerFilter, Engine, Event},
    wire,
};

impl Door {
    /// Events from now on, until the daemon stops: kubelet takes the end of the stream for a failure.
    pub(super) fn events(&self) -> Result<Batches<wire::ContainerEventResponse>, Status> {
        let engine = Arc::clone(self.engine()?);
        let told = follow(engine.subscribe()).map(move |event| Ok(with_states(&engine, &event)));
        Ok(Box::pin(told.take_until(self.closing.clone().cancelled_owned())))
    }
}

/// The events of a subscription. A caller that is too slow loses some, and the log says so.
fn follow(events: broadcast::Receiver<Event>) -> impl futures_util::Stream<Item = Event> + Send {
    BroadcastStream::new(events).filter_map(|event| async {
        event
            .inspect_err(|BroadcastStreamRecvError::Lagged(missed)| {
                tracing::warn!(missed, "a reader of container events is too slow");
            })
            .ok()
    })
}

/// kubelet needs the state of the whole pod with every event.
fn with_states(engine: &Engine, event: &Event) -> wire::ContainerEventResponse {
    let pod = engine.pod(event.pod.as_str()).ok();
    let of_pod = ContainerFilter { pod_id: Some(event.pod.to_string()), ..Default::default() };
    event::to_wire(event, pod.as_ref(), &engine.containers(&of_pod))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::EventKind,
        types::{Id, Timestamp},
    };

    #[tokio::test]
    async fn a_slow_reader_loses_events_but_not_the_stream() {
        let id = Id::from_bytes([1; 32]);
        let (sender, receiver) = broadcast::channel(2);
        let stream = follow(receiver);
        for at in 0..5 {
            let event = Event { subject: id.clone(), pod: id.clone(), kind: EventKind::Started, at: Timestamp(at) };
            sender.send(event).expect("somebody listens");
        }
        drop(sender);
        let seen: Vec<_> = stream.map(|event| event.at.0).collect().await;
        assert_eq!(seen, [3, 4]);
    }
}
