//! Content by digest: blobs as they were received.

mod ingest;
mod shelf;

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
};

pub(super) use ingest::{Copied, Ingest, Received};
pub(super) use shelf::{Claim, Lease, Shelf};

use super::{Error, durable::make_directory, trash::Trash};
use crate::types::Digest;

/// Largest manifest or configuration that is read into memory; registries allow 4 MiB.
pub(super) const MAX_DOCUMENT: u64 = 4 << 20;

/// Blobs, `<root>/blobs/sha256/<hex>`; what each of them carries is its length.
#[derive(Debug)]
pub(super) struct Blobs {
    shelf: Arc<Shelf<u64>>,
    ingest: PathBuf,
}

impl Blobs {
    /// Opens the blobs below `root` and forgets what was half received. Blocking.
    pub(super) fn open(root: &Path, trash: Arc<Trash>) -> Result<Self, Error> {
        let directory = root.join("blobs/sha256");
        let ingest = root.join("ingest");
        make_directory(&directory)?;
        trash.discard(&ingest)?;
        make_directory(&ingest)?;
        let shelf = Shelf::open(directory, trash, |path| fs::metadata(path).ok().map(|found| found.len()))?;
        Ok(Self { shelf, ingest })
    }

    /// The counted places of the blobs.
    pub(super) fn shelf(&self) -> &Arc<Shelf<u64>> {
        &self.shelf
    }

    /// Begins to receive a blob. Blocking.
    pub(super) fn ingest(&self) -> Result<Ingest, Error> {
        Ingest::begin(&self.ingest)
    }

    /// Takes in what was received, if it is what it should be; it is on the disk then, though its name may not yet be.
    /// Blocking.
    pub(super) fn commit(&self, ingest: Ingest, expected: Option<Digest>) -> Result<(Digest, Lease<u64>), Error> {
        let received = ingest.finish(expected)?;
        received.sync()?;
        let lease = self.shelf.put(received.digest, received.path(), received.size)?;
        Ok((received.digest, lease))
    }

    /// Takes in a blob that is in memory. Blocking.
    pub(super) fn put(&self, content: &[u8]) -> Result<(Digest, Lease<u64>), Error> {
        let digest = Digest::of(content);
        if let Ok(lease) = self.shelf.lease(&[digest]) {
            return Ok((digest, lease));
        }
        let mut ingest = self.ingest()?;
        ingest.write(content)?;
        self.commit(ingest, Some(digest))
    }

    /// Reads a manifest or configuration and checks that it is still what it was. Blocking.
    pub(super) fn read(&self, digest: Digest) -> Result<Vec<u8>, Error> {
        let path = self.shelf.path(digest);
        let failed = |source| Error::file("read", &path, source);
        let mut content = Vec::new();
        let file = fs::File::open(&path).map_err(failed)?;
        file.take(MAX_DOCUMENT + 1).read_to_end(&mut content).map_err(failed)?;
        match Digest::of(&content) {
            actual if actual == digest => Ok(content),
            actual => Err(Error::Corrupt { expected: digest, actual }),
        }
    }
}

#[cfg(test)]
mod tests;
