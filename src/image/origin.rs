//! Where the content of an image in the store is read from: the store, or else a registry that it came from.
//!
//! Layers' streams may not have been kept after they were unpacked, and a layer's files do not give the same stream
//! again: neither its compression nor the order of its archive is in them. Made anew, the image would be another one,
//! with other digests. So what was not kept is fetched again, byte by byte the same, or there is an error that says so.

use std::{collections::HashMap, fs::File, path::PathBuf, sync::Arc};

use futures_util::FutureExt as _;

use super::{
    Auth, Error, Store,
    artifact::Form,
    chunks::chunks,
    content::{Lease, Received},
    fetch::{feed, fetch},
    layers::Layer,
    manifest::Manifest,
    record::Record,
    registry::Descriptor,
};
use crate::{
    task,
    types::{Digest, Reference},
};

/// Credentials for places that images came from.
#[derive(Debug, Clone)]
pub struct SourceAuth {
    /// A repository with its registry, or a registry alone: `registry.example/team/app`, `registry.example`.
    pub scope: String,
    /// Who we are there.
    pub auth: Auth,
}

/// The places that have an image's content.
#[derive(Debug)]
pub(super) struct Origin {
    store: Arc<Store>,
    /// Where the image was pulled from.
    sources: Vec<Reference>,
    auths: Vec<SourceAuth>,
    /// Blobs that are there as the only file of a layer: the layers and the files' paths.
    files: HashMap<Digest, (Digest, PathBuf)>,
}

/// A blob opened for reading.
#[derive(Debug)]
pub(super) struct OpenBlob {
    /// Its content, from the beginning on.
    pub(super) file: File,
    /// Keeps the file.
    pub(super) kept: Kept,
}

/// What keeps the file of a blob until it is dropped.
#[derive(Debug)]
#[expect(dead_code, reason = "they are there to be dropped")]
pub(super) enum Kept {
    InStore(Lease<u64>),
    AsFile(Lease<Layer>),
    Fetched(Box<Received>),
}

impl Origin {
    /// The origin of the image with this record. A source for which there are no credentials gets to see those that
    /// this host has for it.
    pub(super) fn new(store: Arc<Store>, record: &Record, auths: Vec<SourceAuth>) -> Self {
        let sources = record.digests.iter().filter_map(|name| name.parse().ok()).collect();
        Self { store, sources, auths, files: HashMap::new() }
    }

    /// Lets the files of an artifact be read from where they are mounted from.
    pub(super) fn add_files(&mut self, manifest: &Manifest) -> Result<(), Error> {
        for (blob, form) in manifest.contents("to be saved")? {
            if let (Some(layer), Form::File(path)) = (form.layer(blob.digest), form) {
                self.files.insert(blob.digest, (layer, path));
            }
        }
        Ok(())
    }

    /// Another repository of a registry that has the image's content.
    pub(super) fn sibling(&self, of: &Reference) -> Option<&str> {
        let is_other = |source: &&Reference| source.domain() == of.domain() && source.repository() != of.repository();
        self.sources.iter().find(is_other).map(Reference::repository)
    }

    /// Reads a manifest or an index.
    pub(super) async fn document(&self, digest: Digest) -> Result<Vec<u8>, Error> {
        if let Ok(lease) = self.store.blobs.shelf().lease(&[digest]) {
            let store = Arc::clone(&self.store);
            return task::blocking(move || {
                let _lease = lease;
                store.blobs.read(digest)
            })
            .await;
        }
        let mut failure = None;
        for source in &self.sources {
            match self.store.client.manifest_by_digest(source, digest, self.auth_for(source)).await {
                Ok(resolved) => return Ok(resolved.bytes.into()),
                Err(error) => failure = Some(Box::new(error)),
            }
        }
        Err(Error::NotKept { digest, source: failure.map(|error| Box::new(Error::Registry(*error))) })
    }

    /// Opens a blob; one that is not in the store is fetched and verified first, and gone again when it is closed.
    pub(super) async fn open(&self, blob: &Descriptor) -> Result<OpenBlob, Error> {
        let digest = blob.digest;
        if let Ok(lease) = self.store.blobs.shelf().lease(&[digest]) {
            let path = self.store.blobs.shelf().path(digest);
            return Ok(OpenBlob { file: open(path).await?, kept: Kept::InStore(lease) });
        }
        if let Some((layer, path)) = self.files.get(&digest)
            && let Ok(lease) = self.store.layers.shelf().lease(&[*layer])
        {
            let path = self.store.layers.files(*layer).join(path);
            return Ok(OpenBlob { file: open(path).await?, kept: Kept::AsFile(lease) });
        }
        let mut failure = None;
        for source in &self.sources {
            match self.fetch(source, blob).await {
                Ok(received) => {
                    return Ok(OpenBlob { file: received.open()?, kept: Kept::Fetched(Box::new(received)) });
                }
                Err(error) => failure = Some(Box::new(error)),
            }
        }
        Err(Error::NotKept { digest, source: failure })
    }

    async fn fetch(&self, source: &Reference, blob: &Descriptor) -> Result<Received, Error> {
        let (store, digest) = (Arc::clone(&self.store), blob.digest);
        let slot = store.refetches.enter().await;
        let receive = move |stream| {
            let (sender, mut chunks) = chunks();
            let store = Arc::clone(&store);
            let receive = slot.clone().blocking(move || {
                let mut ingest = store.blobs.ingest()?;
                ingest.copy_from(&mut chunks)?;
                ingest.finish(Some(digest))
            });
            async move {
                let (received, fed) = tokio::join!(receive, feed(stream, sender, |_| {}));
                // A stream that broke is the reason why it has another digest.
                fed.and(received)
            }
            .boxed()
        };
        fetch(&self.store, source, blob, self.auth_for(source), receive).await
    }

    fn auth_for(&self, source: &Reference) -> Option<&Auth> {
        auth_for(&self.auths, source)
    }
}

async fn open(path: PathBuf) -> Result<File, Error> {
    task::blocking(move || File::open(&path).map_err(|source| Error::file("open", &path, source))).await
}

/// The credentials for a source: those for its repository before those for its registry.
fn auth_for<'a>(auths: &'a [SourceAuth], source: &Reference) -> Option<&'a Auth> {
    let of = |scope: &str| auths.iter().find(|auth| auth.scope == scope).map(|found| &found.auth);
    of(&source.name()).or_else(|| of(source.domain()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_go_to_no_other_place_than_theirs() {
        let auth = |scope: &str| SourceAuth {
            scope: scope.to_owned(),
            auth: Auth { username: scope.to_owned(), ..Auth::default() },
        };
        let auths = ["a.example", "a.example/team/app", "b.example/team"].map(auth);
        for (source, expected) in [
            ("a.example/team/app:1", Some("a.example/team/app")),
            ("a.example/team/app2:1", Some("a.example")),
            ("b.example/team:1", Some("b.example/team")),
            ("b.example/team/app:1", None),
            ("a.example.evil/team/app:1", None),
            ("a.example:443/team/app:1", None),
        ] {
            let found = auth_for(&auths, &source.parse().expect("a name"));
            assert_eq!(found.map(|auth| auth.username.as_str()), expected, "{source}");
        }
    }
}
