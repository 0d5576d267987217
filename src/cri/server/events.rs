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
