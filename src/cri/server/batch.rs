//! Lists as streams of batches, so that no message grows beyond what a caller takes.

use std::pin::Pin;

use tokio_stream::Stream;
use tonic::{Response, Status};

/// Members of one message.
const BATCH: usize = 1000;

/// The stream of a server-streaming RPC.
pub(super) type Batches<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Sends `members` in batches, each wrapped into a message.
pub(super) fn batches<T, M>(
    members: Vec<T>,
    wrap: impl Fn(Vec<T>) -> M + Send + 'static,
) -> Result<Response<Batches<M>>, Status>
where
    T: Send + 'static,
    M: 'static,
{
    let mut members = members.into_iter();
    let messages = std::iter::from_fn(move || {
        let batch: Vec<T> = members.by_ref().take(BATCH).collect();
        (!batch.is_empty()).then(|| Ok(wrap(batch)))
    });
    Ok(Response::new(Box::pin(tokio_stream::iter(messages))))
}

#[cfg(test)]
mod tests {
    use tokio_stream::StreamExt as _;

    use super::*;

    #[tokio::test]
    async fn long_lists_come_in_batches_and_empty_ones_not_at_all() {
        let sizes = |count| async move {
            let stream = batches((0..count).collect::<Vec<u32>>(), |batch| batch.len()).expect("a stream").into_inner();
            stream.map(|size| size.expect("no failure")).collect::<Vec<_>>().await
        };
        assert_eq!(sizes(2500).await, [1000, 1000, 500]);
        assert_eq!(sizes(1000).await, [1000]);
        assert!(sizes(0).await.is_empty());
    }
}
