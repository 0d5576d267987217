//! Pushing: an image to a registry, with the digests that it has.

use std::{io, sync::Arc};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{
    Auth, Error, Image, Platforms, Progress, Store,
    origin::{Kept, OpenBlob, Origin, SourceAuth},
    outgoing::Outgoing,
    progress::{BlobState, BlobWatch},
    registry::{BlobPush, Content, Descriptor, Pushed},
};
use crate::{
    fault,
    types::{Digest, Reference},
};

/// Blobs of one image that are pushed at once; each holds a chunk in memory.
const BLOBS_AT_ONCE: usize = 3;

/// What is pushed, and where to.
#[derive(Debug, Clone)]
pub struct PushOptions {
    /// The image: a name, a digest or an id.
    pub image: String,
    /// Its name at the registry; `None` for the one in `image`.
    pub destination: Option<String>,
    /// Which of the images behind the name.
    pub platforms: Platforms,
    /// Credentials for the destination's registry.
    pub auth: Option<Auth>,
    /// Credentials for what has to be fetched again.
    pub sources: Vec<SourceAuth>,
}

/// An image that has been pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushedImage {
    /// Its name at the registry.
    pub name: String,
    /// Digest of its manifest or index there.
    pub digest: Digest,
}

impl Store {
    /// Puts an image into a registry. Blobs that are there already are not sent, those that another repository of the
    /// same registry has are mounted, and those that the store did not keep are fetched again from where they came.
    ///
    /// # Errors
    /// When there is no such image, the registry does not take it, or its content is not to be had any more.
    pub async fn push(self: &Arc<Self>, options: PushOptions, progress: &Arc<Progress>) -> Result<PushedImage, Error> {
        let image = self.find(&options.image)?;
        let destination = destination(&image, &options)?;
        let PushOptions { platforms, auth, mut sources, .. } = options;
        // They are as good for fetching from the same registry, if there are no others.
        let for_registry = auth.clone().map(|auth| SourceAuth { scope: destination.domain().to_owned(), auth });
        sources.extend(for_registry);
        let outgoing = Outgoing::collect(self, &self.record(&image)?, platforms, sources).await?;
        let job = Job { store: self, outgoing: &outgoing, destination: &destination, auth: auth.as_ref() };

        let watched: Vec<_> = outgoing.blobs.iter().map(|blob| (blob, progress.announce(blob))).collect();
        let mut pushes = Vec::new();
        for (blob, watch) in &watched {
            pushes.push(job.blob(blob, watch));
        }
        stream::iter(pushes).buffer_unordered(BLOBS_AT_ONCE).try_collect::<()>().await?;
        fault::point("image.push.blobs");
        let digest = job.documents().await?;
        fault::point("image.push.documents");
        Ok(PushedImage { name: destination.to_string(), digest })
    }
}

/// Where an image goes to.
fn destination(image: &Image, options: &PushOptions) -> Result<Reference, Error> {
    let name = options.destination.as_deref().unwrap_or(&options.image);
    if options.destination.is_some() {
        return Ok(name.parse()?);
    }
    // What is the beginning of an id may be a name all the same.
    let found_by_id = image.id.hex().starts_with(name.trim_start_matches("sha256:"));
    match name.parse::<Reference>() {
        Ok(reference) if !found_by_id || image.tags.contains(&reference.to_string()) => Ok(reference),
        Err(error) if !found_by_id => Err(error.into()),
        _ => Err(Error::Nameless(image.id)),
    }
}

/// A push under way.
struct Job<'a> {
    store: &'a Store,
    outgoing: &'a Outgoing,
    destination: &'a Reference,
    auth: Option<&'a Auth>,
}

impl Job<'_> {
    async fn blob(&self, blob: &Descriptor, watch: &BlobWatch) -> Result<(), Error> {
        if !blob.urls.is_empty() {
            // Its manifest says where to get it; registries do not take what may not be distributed.
            watch.ended(BlobState::Present);
            return Ok(());
        }
        let origin = &self.outgoing.origin;
        let mut content = Source { origin, blob, watch, kept: None, failure: None };
        let push = BlobPush {
            reference: self.destination,
            blob,
            mount_from: origin.sibling(self.destination),
            auth: self.auth,
        };
        let pushed = match self.store.client.push_blob(push, &mut content).await {
            Ok(pushed) => pushed,
            // The registry is not to blame for what could not be read.
            Err(error) => return Err(content.failure.unwrap_or(error.into())),
        };
        watch.ended(match pushed {
            Pushed::Present => BlobState::Present,
            Pushed::Mounted => BlobState::Mounted,
            Pushed::Uploaded => BlobState::Done,
        });
        Ok(())
    }

    /// Puts the documents there, each after all that it points to; only the last one gets the tag.
    async fn documents(&self) -> Result<Digest, Error> {
        let mut last = Digest::of(b"");
        let count = self.outgoing.documents.len();
        for (position, document) in self.outgoing.documents.iter().enumerate() {
            let descriptor = &document.descriptor;
            let is_image = position + 1 == count;
            let reference =
                if is_image { self.destination.clone() } else { self.destination.pinned(descriptor.digest) };
            let bytes = Bytes::copy_from_slice(&document.bytes);
            last = self.store.client.push_manifest(&reference, &descriptor.media_type, bytes, self.auth).await?;
        }
        Ok(last)
    }
}

/// The content of a blob, opened only if the registry does not have it.
struct Source<'a> {
    origin: &'a Origin,
    blob: &'a Descriptor,
    watch: &'a BlobWatch,
    kept: Option<Kept>,
    /// Why it could not be opened.
    failure: Option<Error>,
}

impl Content for Source<'_> {
    type Reader = tokio::fs::File;

    async fn open(&mut self) -> io::Result<tokio::fs::File> {
        match self.origin.open(self.blob).await {
            Ok(OpenBlob { file, kept }) => {
                self.kept = Some(kept);
                Ok(file.into())
            }
            Err(error) => {
                self.failure = Some(error);
                Err(io::ErrorKind::NotFound.into())
            }
        }
    }

    fn sent(&mut self, bytes: u64) {
        self.watch.reached(bytes);
    }
}
