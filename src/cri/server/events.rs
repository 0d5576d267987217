//! GetContainerEvents.

use futures_util::StreamExt as _;
use tokio::sync::broadcast;
use tokio_stream::wrappers::{BroadcastStream, errors::BroadcastStreamRecvError};
use tonic::Status;

use super::{Door, batch::Batches};
use crate::{cri::convert::event, wire};

impl Door {
    /// Events from now on, until the daemon stops: kubelet takes the end of the stream for a failure.
    pub(super) fn events(&self) -> Result<Batches<wire::ContainerEventResponse>, Status> {
        let told = follow(self.engine()?.subscribe()).map(|event| Ok(event::to_wire(&event)));
        Ok(Box::pin(told.take_until(self.closing.clone().cancelled_owned())))
    }
}

/// The events of a subscription. A caller that is too slow loses some, and the log says so.
fn follow<T: Clone + Send + 'static>(events: broadcast::Receiver<T>) -> impl futures_util::Stream<Item = T> + Send {
    BroadcastStream::new(events).filter_map(|event| async {
        event
            .inspect_err(|BroadcastStreamRecvError::Lagged(missed)| {
                tracing::warn!(missed, "a reader of container events is too slow");
            })
            .ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_slow_reader_loses_events_but_not_the_stream() {
        let (sender, receiver) = broadcast::channel(2);
        let stream = follow(receiver);
        for event in 0..5 {
            sender.send(event).expect("somebody listens");
        }
        drop(sender);
        let seen: Vec<_> = stream.collect().await;
        assert_eq!(seen, [3, 4]);
    }
}
