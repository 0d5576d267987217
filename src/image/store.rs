//! The store's face.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::io::AsyncRead;

use super::{Auth, Error, Image, ImageUsage, Snapshot};
use crate::types::{FilesystemUsage, Id};

/// How a store is set up.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Directory of blobs, layers and records.
    pub root: PathBuf,
    /// Directory of containers' writable parts; must be on a file system that overlayfs can write to.
    pub containers: PathBuf,
    /// Registry host configuration in the `<host>/hosts.toml` form.
    pub certs_dir: PathBuf,
    /// Keep compressed layers after they have been unpacked.
    pub keep_blobs: bool,
    /// Names of images that are shown as pinned; `*` at the end matches any rest.
    pub pinned: Vec<String>,
}

/// All images of the host.
#[derive(Debug)]
pub struct Store {
    config: Config,
}

impl Store {
    /// Opens the store, cleaning up what an earlier process left half done. Blocking.
    pub fn open(config: Config) -> Result<Arc<Self>, Error> {
        Ok(Arc::new(Self { config }))
    }

    /// Finds an image by tag, digest, id (with or without `sha256:`) or the beginning of an id.
    pub fn resolve(&self, _name: &str) -> Option<Arc<Image>> {
        None
    }

    /// All images.
    pub fn list(&self) -> Vec<Arc<Image>> {
        Vec::new()
    }

    /// Brings an image in from its registry, or does nothing if it is there already and up to date. Equal pulls join;
    /// when the last of their futures is dropped, the work stops and nothing of it can be seen.
    pub async fn pull(self: &Arc<Self>, name: &str, _auth: Option<Auth>) -> Result<Arc<Image>, Error> {
        Err(Error::NotFound(name.to_owned()))
    }

    /// Removes an image with all its names, whichever of them is given; an unknown name is no error.
    pub async fn remove(self: &Arc<Self>, _name: &str) -> Result<(), Error> {
        Ok(())
    }

    /// Takes images out of an archive stream: an OCI layout or a docker archive, as a tar, also compressed. `name`
    /// replaces the names in the archive, which must then hold one image.
    pub async fn import(
        self: &Arc<Self>,
        _archive: impl AsyncRead + Send + Unpin + 'static,
        name: Option<&str>,
    ) -> Result<Vec<Arc<Image>>, Error> {
        Err(Error::NotFound(name.unwrap_or_default().to_owned()))
    }

    /// Like [`Self::import`], from a file.
    pub async fn import_file(self: &Arc<Self>, path: &Path, _name: Option<&str>) -> Result<Vec<Arc<Image>>, Error> {
        Err(Error::NotFound(path.display().to_string()))
    }

    /// Makes the writable part of a container on top of an image, whose layers stay until it is removed again.
    pub async fn snapshot(self: &Arc<Self>, _container: &Id, image: &Image) -> Result<Snapshot, Error> {
        Err(Error::NotFound(image.id.to_string()))
    }

    /// Keeps an image's layers for a container that mounts it as a volume, until its snapshot is removed.
    /// Returns the layers, top first.
    pub async fn hold(self: &Arc<Self>, _container: &Id, image: &Image) -> Result<Vec<PathBuf>, Error> {
        Err(Error::NotFound(image.id.to_string()))
    }

    /// Removes a container's writable part and lets go of the layers it held; an unknown container is no error.
    pub async fn remove_snapshot(self: &Arc<Self>, _container: &Id) -> Result<(), Error> {
        Ok(())
    }

    /// Containers that have a snapshot.
    pub fn snapshots(&self) -> Vec<Id> {
        Vec::new()
    }

    /// Space that a container's writable part takes.
    pub async fn snapshot_usage(self: &Arc<Self>, container: &Id) -> Result<FilesystemUsage, Error> {
        Err(Error::NotFound(container.to_string()))
    }

    /// Directories of an image's layers, top first.
    pub fn layers(&self, image: &Image) -> Vec<PathBuf> {
        image.layers.iter().rev().map(|layer| self.config.root.join("layers").join(layer.hex()).join("fs")).collect()
    }

    /// Space that images and containers take.
    pub async fn usage(self: &Arc<Self>) -> Result<ImageUsage, Error> {
        Err(Error::NotFound(String::new()))
    }
}
