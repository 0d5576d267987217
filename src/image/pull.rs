//! Pulling: all parts of an image at the same time, each verified, decompressed and unpacked while it comes.
//!
//! ```text
//! name → manifest ─┬→ configuration ─────────────────────────────┐
//!                  ├→ layer: registry → verify, inflate → files ─┼→ image
//!                  └→ layer: …                                  ─┘
//! ```
//!
//! If there is a signature policy, the manifest comes no further than that before it lets the image in.
//!
//! An artifact is the same, but that its configuration says nothing and its layers are files (see `artifact.rs`).
//!
//! Every step is a future or is stopped by one: when the pull is dropped, the streams end, the threads behind them
//! find their input cut off, and what they made is discarded.

mod signatures;

use std::{sync::Arc, time::Instant};

use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture};
use tokio::{sync::Semaphore, task::JoinSet};

use super::{
    Auth, Error, Image, Progress, Store,
    artifact::Form,
    assemble::{Parts, assemble},
    chunks::chunks,
    content::MAX_DOCUMENT,
    fetch::{feed, fetch},
    images::Names,
    manifest::{Document, Manifest, choose},
    progress::{BlobState, BlobWatch},
    receive::{LayerPart, ReceivedContent},
    registry::{BlobStream, Descriptor, Resolved},
    trust::Demands,
};
use crate::{
    fault,
    task::{self, Slot},
    types::{Digest, Reference},
};

/// Layers of one image that are under way at once.
const LAYERS_AT_ONCE: usize = 6;
/// How deep indexes may be nested.
const MAX_DEPTH: u32 = 3;

/// What a pull gives to all who wait for it.
pub(super) type Pulled = Result<Arc<Image>, Arc<Error>>;

/// Brings an image in.
pub(super) fn pull(
    store: Arc<Store>,
    reference: Reference,
    auth: Option<Auth>,
    progress: Arc<Progress>,
) -> BoxFuture<'static, Pulled> {
    let source = Arc::new(Source { store, reference, auth, progress });
    async move {
        let began = Instant::now();
        let pulled = source.image().await;
        source.store.metrics.ended(pulled.is_ok(), began.elapsed());
        pulled.map_err(Arc::new)
    }
    .boxed()
}

/// Where an image comes from.
#[derive(Debug)]
struct Source {
    store: Arc<Store>,
    reference: Reference,
    auth: Option<Auth>,
    progress: Arc<Progress>,
}

impl Source {
    async fn image(self: &Arc<Self>) -> Result<Arc<Image>, Error> {
        let demands = self.store.demands(&self.reference).await?;
        demands.as_ref().map(Demands::rule_out).transpose()?;
        let resolved = self.store.client.resolve(&self.reference, self.auth()).await?;
        let named = resolved.digest;
        if let Some(image) = self.present(named)
            // What the policy has nothing to say against as it is needs nothing more from the registry.
            && self.store.admit(&image, &self.reference.to_string()).await.is_ok()
        {
            return Ok(image);
        }
        let names = Names {
            tags: self.tag().into_iter().collect(),
            digests: vec![self.reference.pinned(resolved.digest).to_string()],
        };
        let (index_bytes, found, manifest) = self.manifest(resolved).await?;
        let signatures = match &demands {
            Some(demands) => self.signatures(demands, &[named, found.digest]).await?,
            None => Vec::new(),
        };
        let (config_bytes, layers) = tokio::try_join!(self.document(&manifest.config), self.layers(&manifest))?;
        let manifest_bytes = found.bytes.into();
        let parts = Parts { manifest_bytes, index_bytes, manifest, config_bytes, layers, names, signatures };
        let store = Arc::clone(&self.store);
        let image = task::blocking(move || assemble(&store, parts)).await;
        fault::point("image.pull.record");
        image
    }

    fn auth(&self) -> Option<&Auth> {
        self.auth.as_ref()
    }

    /// The name with its tag; a name with a digest gives the image no tag even if it has one.
    fn tag(&self) -> Option<String> {
        if self.reference.digest().is_some() { None } else { self.reference.tagged() }
    }

    /// The image that is in the store under just these names already.
    fn present(&self, digest: Digest) -> Option<Arc<Image>> {
        let image = self.store.images.resolve(&self.reference.pinned(digest).to_string())?;
        let has_tag = self.tag().is_none_or(|tag| image.tags.contains(&tag));
        has_tag.then_some(image)
    }

    /// Goes from what the name leads to, to the manifest for this host. Also gives the first index on the way.
    async fn manifest(&self, mut found: Resolved) -> Result<(Option<Vec<u8>>, Resolved, Manifest), Error> {
        let name = self.reference.to_string();
        let mut index = None;
        for _ in 0..MAX_DEPTH {
            match Document::parse(&name, found.digest, &found.media_type, &found.bytes)? {
                Document::Manifest(manifest) => return Ok((index, found, manifest)),
                Document::Index(choices) => {
                    let chosen = choose(&name, &choices)?.descriptor.digest;
                    index.get_or_insert_with(|| found.bytes.to_vec());
                    found = self.store.client.manifest_by_digest(&self.reference, chosen, self.auth()).await?;
                }
            }
        }
        Err(Error::Unusable {
            what: "index",
            digest: found.digest,
            reason: format!("indexes are nested more than {MAX_DEPTH} deep"),
        })
    }

    /// Gets a small blob into memory, from the store if it is there.
    async fn document(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
        if let Ok(lease) = self.store.blobs.shelf().lease(&[descriptor.digest]) {
            let (store, digest) = (Arc::clone(&self.store), descriptor.digest);
            let read = task::blocking(move || {
                let _lease = lease;
                store.blobs.read(digest)
            });
            if let Ok(bytes) = read.await {
                return Ok(bytes);
            }
        }
        if descriptor.size > MAX_DOCUMENT {
            return Err(Error::Unusable {
                what: "image configuration",
                digest: descriptor.digest,
                reason: format!("it has {} bytes, more than {MAX_DOCUMENT}", descriptor.size),
            });
        }
        let (store, digest) = (Arc::clone(&self.store), descriptor.digest);
        let receive = move |mut stream: BlobStream| {
            let store = Arc::clone(&store);
            async move {
                let mut bytes = Vec::new();
                while let Some(chunk) = stream.next().await {
                    let chunk = chunk?;
                    store.metrics.received(chunk.len());
                    bytes.extend_from_slice(&chunk);
                }
                match Digest::of(&bytes) {
                    actual if actual == digest => Ok(bytes),
                    actual => Err(Error::Corrupt { expected: digest, actual }),
                }
            }
            .boxed()
        };
        fetch(&self.store, &self.reference, descriptor, self.auth(), receive).await
    }

    /// Brings in all layers at the same time.
    async fn layers(self: &Arc<Self>, manifest: &Manifest) -> Result<Vec<LayerPart>, Error> {
        let slots = Arc::new(Semaphore::new(LAYERS_AT_ONCE));
        let mut running = JoinSet::new();
        let contents = manifest.contents(&self.reference.to_string())?;
        let mut layers: Vec<Option<LayerPart>> = contents.iter().map(|_| None).collect();
        for (position, (descriptor, form)) in contents.into_iter().enumerate() {
            let (source, slots) = (Arc::clone(self), Arc::clone(&slots));
            let watch = self.progress.announce(&descriptor);
            running.spawn(async move { (position, source.layer(&descriptor, &form, &slots, &watch).await) });
        }
        while let Some(finished) = running.join_next().await {
            match finished {
                Ok((position, layer)) => layers[position] = Some(layer?),
                Err(failed) => std::panic::resume_unwind(failed.into_panic()),
            }
        }
        Ok(layers.into_iter().flatten().collect())
    }

    /// Brings in a layer, unless it is there.
    async fn layer(
        &self,
        descriptor: &Descriptor,
        form: &Form,
        slots: &Semaphore,
        watch: &BlobWatch,
    ) -> Result<LayerPart, Error> {
        let store = &self.store;
        // One pull fetches what several of them need, and the others then find it.
        let _turn = store.layer_turns.lock(&descriptor.digest).await;
        if let Some(layer) = LayerPart::present_as(store, form, descriptor.digest, store.config.keep_blobs) {
            watch.ended(BlobState::Present);
            return Ok(layer);
        }
        let (_slot, registry) = (slots.acquire().await, self.reference.domain().to_owned());
        let _share = store.registries.enter(&registry).await;
        let pipeline = store.pipelines.enter().await;
        let receive = |stream| {
            let layer = (descriptor.clone(), form.clone());
            receive(Arc::clone(store), pipeline.clone(), layer, stream, watch.clone()).boxed()
        };
        let received = fetch(store, &self.reference, descriptor, self.auth(), receive).await?;
        fault::point("image.pull.unpacked");
        let store = Arc::clone(store);
        let layer = task::blocking(move || received.commit(&store)).await?;
        fault::point("image.pull.committed");
        watch.ended(BlobState::Done);
        Ok(layer)
    }
}

/// Lets a thread unpack a layer while the stream brings it.
async fn receive(
    store: Arc<Store>,
    pipeline: Slot,
    (descriptor, form): (Descriptor, Form),
    stream: BlobStream,
    watch: BlobWatch,
) -> Result<ReceivedContent, Error> {
    // It may be the second attempt.
    watch.reached(0);
    let (sender, chunks) = chunks();
    let passed = {
        let store = Arc::clone(&store);
        move |bytes: usize| {
            store.metrics.received(bytes);
            watch.moved(bytes as u64);
        }
    };
    let receive = pipeline
        .blocking(move || ReceivedContent::receive(&store, chunks, &descriptor, &form, store.config.keep_blobs));
    let (received, fed) = tokio::join!(receive, feed(stream, sender, passed));
    // A stream that broke is the reason why there was too little to unpack.
    fed.and(received)
}
