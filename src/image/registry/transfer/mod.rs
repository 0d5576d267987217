//! Streams of blobs: in order, within bounded memory, resumed wherever they break off.

mod ahead;
mod range;

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::{Stream, stream};

pub(super) use ahead::Budget;
use ahead::Transfer;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) use range::parse_content_range;

use super::{descriptor::Descriptor, distrust::Givers, error::Error, repository::Repository};

/// The content of a blob, in order. Dropping it ends the transfer.
pub struct BlobStream {
    inner: Pin<Box<dyn Stream<Item = Result<Bytes, Error>> + Send>>,
    givers: Givers,
}

impl BlobStream {
    pub(super) fn new(repository: Arc<Repository>, blob: Descriptor, budget: Budget) -> Result<Self, Error> {
        let givers = repository.givers.clone();
        let transfer = Transfer::new(repository, Arc::new(blob), budget)?;
        let next = |mut transfer: Transfer| async move { Ok(transfer.next().await?.map(|bytes| (bytes, transfer))) };
        Ok(Self { inner: Box::pin(stream::try_unfold(transfer, next)), givers })
    }

    /// The hosts that have given any of it so far, also when the stream is gone.
    pub fn givers(&self) -> Givers {
        self.givers.clone()
    }
}

impl Stream for BlobStream {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.inner.as_mut().poll_next(context)
    }
}

impl fmt::Debug for BlobStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobStream").finish_non_exhaustive()
    }
}
