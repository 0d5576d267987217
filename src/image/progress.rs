//! How far a pull or a push is, for those who watch it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::registry::Descriptor;
use crate::types::Digest;

/// The blobs of one transfer, in the image's order.
#[derive(Debug, Default)]
pub struct Progress {
    blobs: Mutex<Vec<BlobProgress>>,
}

/// How far one blob is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobProgress {
    /// Which one.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// Bytes that have been transferred.
    pub transferred: u64,
    /// What happens to it.
    pub state: BlobState,
}

/// What happens to a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlobState {
    /// It is not its turn yet.
    Waiting,
    /// It is on its way.
    Moving,
    /// It was where it should go.
    Present,
    /// The registry took it from another repository of its own.
    Mounted,
    /// It has been transferred, and unpacked if it is a layer that was pulled.
    Done,
}

impl Progress {
    /// All blobs as they are now.
    pub fn blobs(&self) -> Vec<BlobProgress> {
        self.lock().clone()
    }

    /// Announces a blob.
    pub(super) fn announce(self: &Arc<Self>, blob: &Descriptor) -> BlobWatch {
        let mut blobs = self.lock();
        blobs.push(BlobProgress { digest: blob.digest, size: blob.size, transferred: 0, state: BlobState::Waiting });
        BlobWatch { progress: Arc::clone(self), position: blobs.len() - 1 }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<BlobProgress>> {
        self.blobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the transfer of one blob reports to.
#[derive(Debug, Clone)]
pub(super) struct BlobWatch {
    progress: Arc<Progress>,
    position: usize,
}

impl BlobWatch {
    /// More bytes have come through.
    pub(super) fn moved(&self, bytes: u64) {
        if let Some(blob) = self.progress.lock().get_mut(self.position) {
            blob.transferred += bytes;
        }
    }

    /// That many bytes have come through.
    pub(super) fn reached(&self, bytes: u64) {
        if let Some(blob) = self.progress.lock().get_mut(self.position) {
            (blob.state, blob.transferred) = (BlobState::Moving, bytes);
        }
    }

    /// It is over.
    pub(super) fn ended(&self, state: BlobState) {
        if let Some(blob) = self.progress.lock().get_mut(self.position) {
            blob.state = state;
            if state == BlobState::Done {
                blob.transferred = blob.size;
            }
        }
    }
}
