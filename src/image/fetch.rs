//! Fetching a blob from whoever gives the right one.

use std::sync::Arc;

use futures_util::{StreamExt as _, future::BoxFuture};

use super::{
    Auth, Error, Store,
    chunks::ChunkSender,
    registry::{BlobStream, Descriptor, Distrust},
    unpack,
};
use crate::types::Reference;

/// Fetches a blob by `receive`, which has to verify it. A host that gave wrong bytes is not asked again; if there is
/// another one, that is.
pub(super) async fn fetch<T>(
    store: &Arc<Store>,
    reference: &Reference,
    blob: &Descriptor,
    auth: Option<&Auth>,
    receive: impl Fn(BlobStream) -> BoxFuture<'static, Result<T, Error>> + Send,
) -> Result<T, Error> {
    let mut distrust = Distrust::default();
    let mut corrupt = None;
    loop {
        let stream = match store.client.blob(reference, blob, auth, &distrust).await {
            Ok(stream) => stream,
            // Nobody is left who could do better.
            Err(error) => return Err(corrupt.unwrap_or(error.into())),
        };
        let givers = stream.givers();
        match receive(stream).await {
            Err(error) if is_corrupt(&error) && distrust.extend(&givers) => {
                tracing::warn!(blob = %blob.digest, hosts = %givers, "wrong content was given; another host is asked");
                corrupt = Some(error);
            }
            received => return received,
        }
    }
}

/// Hands a stream on to a thread that reads it.
pub(super) async fn feed(
    mut stream: BlobStream,
    reader: ChunkSender,
    passed: impl Fn(usize) + Send,
) -> Result<(), Error> {
    while let Some(chunk) = stream.next().await {
        let chunk = chunk?;
        passed(chunk.len());
        // A reader that is gone has its own error to tell.
        if reader.send(chunk).await.is_err() {
            break;
        }
    }
    Ok(())
}

fn is_corrupt(error: &Error) -> bool {
    matches!(error, Error::Corrupt { .. } | Error::Layer { source: unpack::Error::Digest { .. }, .. })
}
