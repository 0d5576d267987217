//! Pulls and pushes that tell how far they are, and archives on their way out.

use std::{pin::Pin, sync::Arc, time::Duration};

use futures_util::{Stream, StreamExt as _, stream};
use tokio::time::{Instant, sleep_until};
use tonic::Status;

use crate::{
    berth_wire::{BlobProgress, BlobState, SaveResponse, TransferEvent, TransferResult},
    image,
};

/// How often progress is told.
const INTERVAL: Duration = Duration::from_millis(100);

/// An answer that goes on.
pub(super) type Events<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A transfer that is being watched. It is dropped, and with it the work, when the client goes away.
struct Watched<F> {
    /// Gone when it has given its result.
    work: Option<Pin<Box<F>>>,
    progress: Arc<image::Progress>,
    told: Vec<image::BlobProgress>,
}

/// Runs a transfer and tells how far it is, and at last its result.
pub(super) fn watch<F>(work: F, progress: Arc<image::Progress>) -> Events<TransferEvent>
where
    F: Future<Output = Result<TransferResult, Status>> + Send + 'static,
{
    let watched = Watched { work: Some(Box::pin(work)), progress, told: Vec::new() };
    stream::unfold(watched, |mut watched| async move { watched.next().await.map(|event| (event, watched)) }).boxed()
}

impl<F: Future<Output = Result<TransferResult, Status>>> Watched<F> {
    async fn next(&mut self) -> Option<Result<TransferEvent, Status>> {
        let mut tick = Instant::now();
        loop {
            tick += INTERVAL;
            let work = self.work.as_mut()?;
            tokio::select! {
                result = work => {
                    self.work = None;
                    let blobs = self.changes();
                    return Some(result.map(|result| TransferEvent { blobs, result: Some(result) }));
                }
                () = sleep_until(tick) => {
                    let blobs = self.changes();
                    if !blobs.is_empty() {
                        return Some(Ok(TransferEvent { blobs, result: None }));
                    }
                }
            }
        }
    }

    /// What has not been told yet.
    fn changes(&mut self) -> Vec<BlobProgress> {
        let now = self.progress.blobs();
        let positions = now.iter().enumerate();
        let changed = positions.filter(|(position, blob)| self.told.get(*position) != Some(blob));
        let changes = changed.map(|(position, blob)| to_wire(position, blob)).collect();
        self.told = now;
        changes
    }
}

fn to_wire(position: usize, blob: &image::BlobProgress) -> BlobProgress {
    let state = match blob.state {
        image::BlobState::Waiting => BlobState::Waiting,
        image::BlobState::Moving => BlobState::Moving,
        image::BlobState::Present => BlobState::Present,
        image::BlobState::Mounted => BlobState::Mounted,
        image::BlobState::Done => BlobState::Done,
    };
    BlobProgress {
        position: u32::try_from(position).unwrap_or(u32::MAX),
        digest: blob.digest.to_string(),
        size: blob.size,
        transferred: blob.transferred,
        state: state.into(),
    }
}

/// An archive in pieces. `work` makes it; why it ended early comes in the place of its end.
pub(super) fn archive(
    mut pieces: image::Archive,
    work: impl Future<Output = Result<(), image::Error>> + Send + 'static,
) -> Events<SaveResponse> {
    let pieces = stream::poll_fn(move |context| pieces.poll_next(context))
        .map(|data| Ok(Some(SaveResponse { data: data.into() })));
    // Both must be polled together: the work waits for those who take the pieces.
    let work = stream::once(async move { work.await.map(|()| None).map_err(Status::from) });
    stream::select(pieces, work).filter_map(async |piece| piece.transpose()).boxed()
}
