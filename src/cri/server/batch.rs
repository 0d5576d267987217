//! Lists as streams of batches, so that no message grows beyond what a caller takes.

use std::pin::Pin;

use prost::Message;
use tokio_stream::Stream;
use tonic::{Response, Status};

/// Members of one message at most.
const MOST_MEMBERS: usize = 1000;
/// Bytes after which a message takes no more members. kubelet takes 16 MiB, and one member has hardly ever more than one.
const ENOUGH_BYTES: usize = 4 << 20;

/// The stream of a server-streaming RPC.
pub(super) type Batches<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Sends `members` in batches, each wrapped into a message.
pub(super) fn batches<T, M>(
    members: Vec<T>,
    wrap: impl Fn(Vec<T>) -> M + Send + 'static,
) -> Result<Response<Batches<M>>, Status>
where
    T: Message + 'static,
    M: 'static,
{
    let mut members = members.into_iter();
    let messages = std::iter::from_fn(move || {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while batch.len() < MOST_MEMBERS && bytes < ENOUGH_BYTES {
            let Some(member) = members.next() else { break };
            bytes += member.encoded_len();
            batch.push(member);
        }
        (!batch.is_empty()).then(|| Ok(wrap(batch)))
    });
    Ok(Response::new(Box::pin(tokio_stream::iter(messages))))
}

#[cfg(test)]
mod tests {
    use tokio_stream::StreamExt as _;

    use super::*;

    async fn sizes(members: Vec<String>) -> Vec<usize> {
        let stream = batches(members, |batch| batch.len()).expect("a stream").into_inner();
        stream.map(|size| size.expect("no failure")).collect().await
    }

    #[tokio::test]
    async fn long_lists_come_in_batches_and_empty_ones_not_at_all() {
        assert_eq!(sizes(vec![String::new(); 2500]).await, [1000, 1000, 500]);
        assert_eq!(sizes(vec![String::new(); 1000]).await, [1000]);
        assert!(sizes(Vec::new()).await.is_empty());
    }

    #[tokio::test]
    async fn large_members_come_in_fewer_at_a_time() {
        assert_eq!(sizes(vec!["x".repeat(1 << 20); 10]).await, [4, 4, 2]);
        assert_eq!(sizes(vec!["x".repeat(5 << 20); 2]).await, [1, 1], "one too large for a batch is one");
    }
}
