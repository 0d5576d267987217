//! The store's face.

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use tokio::{io::AsyncRead, time::Instant};

use super::{
    Auth, Error, Image, LayerLimits, Progress, Snapshot,
    chunks::chunks,
    content::Blobs,
    durable::{lock_directory, make_directory},
    flight::Flights,
    images::Images,
    import,
    layers::Layers,
    metrics::Metrics,
    pull::{self, Pulled},
    registry,
    snapshot::Snapshots,
    trash::Trash,
    trust::Policy,
    unpack::Limits,
};
use crate::{
    task::{self, KeyLock, KeyedLanes, Lane},
    types::{Digest, FilesystemUsage, Id, Reference, Size},
};

/// How a store is set up.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Directory of blobs, layers and records.
    pub root: PathBuf,
    /// Directory of containers' writable parts; must be on a file system that overlayfs can write to.
    pub containers: PathBuf,
    /// Registry host configuration in the `<host>/hosts.toml` form.
    pub certs_dir: PathBuf,
    /// Files in the form of docker's `config.json` with credentials for pulls that bring none.
    pub credentials: Vec<PathBuf>,
    /// Keep compressed layers after they have been unpacked.
    pub keep_blobs: bool,
    /// Names of images that are shown as pinned; `*` at the end matches any rest.
    pub pinned: Vec<String>,
    /// Policy that says which images may be used, in the form of containers-policy.json(5); `None` for all.
    pub signature_policy: Option<PathBuf>,
    /// How much containers may write into their own layers.
    pub layer_limits: LayerLimits,
}

/// Layers that are unpacked at once, by all pulls together; each takes about 1 MiB of memory.
const PIPELINES: usize = 24;
/// Those of them that one registry may have: it may be one that gives nothing, and others give something.
const PIPELINES_OF_REGISTRY: usize = 18;
/// Archives that are taken in, archives that are made, and blobs that are fetched again, at once.
const IMPORTS: usize = 16;
const SAVES: usize = 16;
const REFETCHES: usize = 16;

/// All images of the host.
#[derive(Debug)]
pub struct Store {
    pub(super) config: Config,
    pub(super) client: registry::Client,
    pub(super) blobs: Blobs,
    pub(super) layers: Layers,
    pub(super) images: Images,
    /// What waits for registries that are pulled from.
    pub(super) pipelines: Lane,
    /// The shares of single registries in it, by the domain in images' names.
    pub(super) registries: KeyedLanes<String>,
    /// What waits for clients that send an archive.
    imports: Lane,
    /// What waits for clients that take an archive.
    pub(super) saves: Lane,
    /// What waits for registries that give again what was not kept.
    pub(super) refetches: Lane,
    /// Held for a layer's stream while it is fetched.
    pub(super) layer_turns: KeyLock<Digest>,
    pub(super) metrics: Metrics,
    pulls: Flights<(Reference, Option<Auth>), Pulled, Arc<Progress>>,
    pub(super) snapshots: Snapshots,
    /// Held for a container while its snapshot is changed.
    snapshot_turns: KeyLock<Id>,
    pub(super) containers_usage: Mutex<Option<(Instant, FilesystemUsage)>>,
    /// Keeps other processes out: opening the store would discard what this one is making.
    _lock: File,
    /// What stands in for layers where an image has fewer than overlayfs needs.
    empty: [PathBuf; 2],
    /// Lowest layer of every container: see [`make_mount_points`].
    mount_points: PathBuf,
}

impl Store {
    /// Opens the store, cleaning up what an earlier process left half done. Blocking.
    ///
    /// # Errors
    /// When its directories cannot be made or read, another process has it open, the signature policy cannot be used, or
    /// all writable layers are to be limited where the file system cannot do it. Images whose content is gone are no
    /// error: they are dropped.
    pub fn open(config: Config) -> Result<Arc<Self>, Error> {
        // It is read anew whenever it is asked; what is wrong with it is better told at once.
        config.signature_policy.as_deref().map(Policy::read).transpose()?;
        let root = config.root.as_path();
        make_directory(root)?;
        let lock = lock_directory(root)?;
        let trash = Arc::new(Trash::open(root.join("trash"))?);
        let empty = [root.join("empty/0"), root.join("empty/1")];
        empty.iter().try_for_each(|path| make_empty(path))?;
        let mount_points = root.join("mount-points");
        make_mount_points(&mount_points)?;
        let blobs = Blobs::open(root, Arc::clone(&trash))?;
        let layers = Layers::open(root, Arc::clone(&trash), Limits::default())?;
        let images = Images::open(root, config.pinned.clone(), &layers, &blobs, &trash)?;
        let snapshots = Snapshots::open(config.containers.clone(), config.layer_limits, &layers)?;
        blobs.shelf().sweep();
        layers.shelf().sweep();
        let client = registry::Client::new(registry::Config {
            certs_dir: config.certs_dir.clone(),
            credentials: config.credentials.clone(),
            ..registry::Config::default()
        });
        Ok(Arc::new(Self {
            config,
            client,
            blobs,
            layers,
            images,
            pipelines: Lane::new(PIPELINES),
            registries: KeyedLanes::new(PIPELINES_OF_REGISTRY),
            imports: Lane::new(IMPORTS),
            saves: Lane::new(SAVES),
            refetches: Lane::new(REFETCHES),
            layer_turns: KeyLock::default(),
            metrics: Metrics::default(),
            pulls: Flights::default(),
            snapshots,
            snapshot_turns: KeyLock::default(),
            containers_usage: Mutex::default(),
            _lock: lock,
            empty,
            mount_points,
        }))
    }

    /// What is counted of pulls.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Finds an image by tag, digest, id (with or without `sha256:`) or the beginning of an id.
    pub fn resolve(&self, name: &str) -> Option<Arc<Image>> {
        self.images.resolve(name)
    }

    /// All images.
    pub fn list(&self) -> Vec<Arc<Image>> {
        self.images.list()
    }

    /// Brings an image in from its registry, or does nothing if it is there already and up to date. Equal pulls join;
    /// when the last of their futures is dropped, the work stops and nothing of it can be seen.
    ///
    /// # Errors
    /// When the name is malformed, the registry does not give the image, or the image is not usable.
    pub async fn pull(self: &Arc<Self>, name: &str, auth: Option<Auth>) -> Result<Arc<Image>, Error> {
        self.pull_watched(name, auth)?.0.await
    }

    /// Like [`Self::pull`], and also gives how far it is.
    ///
    /// # Errors
    /// When the name is malformed.
    #[expect(clippy::type_complexity, reason = "a future and what it is watched by")]
    pub fn pull_watched(
        self: &Arc<Self>,
        name: &str,
        auth: Option<Auth>,
    ) -> Result<(impl Future<Output = Result<Arc<Image>, Error>> + Send + use<>, Arc<Progress>), Error> {
        let reference: Reference = name.parse()?;
        let key = (reference.clone(), auth.clone());
        let start = || {
            let progress = Arc::new(Progress::default());
            (pull::pull(Arc::clone(self), reference, auth, Arc::clone(&progress)), progress)
        };
        let (pull, progress) = self.pulls.join(key, start);
        Ok((async move { pull.await.map_err(Error::Joined) }, progress))
    }

    /// Removes an image with all its names, whichever of them is given; an unknown name is no error. Layers that a
    /// container uses stay until it is removed.
    ///
    /// # Errors
    /// When its record cannot be removed.
    pub async fn remove(self: &Arc<Self>, name: &str) -> Result<(), Error> {
        let Some(image) = self.resolve(name) else { return Ok(()) };
        let store = Arc::clone(self);
        task::blocking(move || store.images.remove(image.id)).await
    }

    /// Takes images out of an archive stream: an OCI layout or a docker archive, as a tar, also compressed. `name`
    /// replaces the names in the archive, which must then hold one image.
    ///
    /// # Errors
    /// When the archive cannot be read or is no image archive, or an image in it is not usable.
    pub async fn import(
        self: &Arc<Self>,
        archive: impl AsyncRead + Send + Unpin + 'static,
        name: Option<&str>,
    ) -> Result<Vec<Arc<Image>>, Error> {
        let name = name.map(str::parse::<Reference>).transpose()?;
        let (sender, chunks) = chunks();
        let store = Arc::clone(self);
        let import = self.imports.blocking(move || import::import(&store, chunks, name.as_ref()));
        let (imported, fed) = tokio::join!(import, sender.feed(archive));
        // A stream that broke is the reason why the archive was cut off.
        fed.map_err(|source| Error::file("read", Path::new("the archive"), source)).and(imported)
    }

    /// Like [`Self::import`], from a file.
    ///
    /// # Errors
    /// As [`Self::import`].
    pub async fn import_file(self: &Arc<Self>, path: &Path, name: Option<&str>) -> Result<Vec<Arc<Image>>, Error> {
        let name = name.map(str::parse::<Reference>).transpose()?;
        let (store, path) = (Arc::clone(self), path.to_owned());
        task::blocking(move || {
            let archive = File::open(&path).map_err(|source| Error::file("open", &path, source))?;
            import::import(&store, archive, name.as_ref())
        })
        .await
    }

    /// Makes the writable part of a container on top of an image, whose layers stay until it is removed again. It takes
    /// no more than `limit`, or what is configured for containers that ask for no limit.
    ///
    /// # Errors
    /// When the container has one already, the image has been removed meanwhile, it is an artifact, or the limit is out
    /// of bounds or cannot be kept.
    pub async fn snapshot(
        self: &Arc<Self>,
        container: &Id,
        image: &Image,
        limit: Option<Size>,
    ) -> Result<Snapshot, Error> {
        if let Some(artifact_type) = image.artifact_type.clone() {
            return Err(Error::NotRunnable { image: image.id, artifact_type });
        }
        let lease = self.layers.shelf().lease(&image.layers)?;
        let mut lower = self.layers_with_content(image);
        lower.push(self.mount_points.clone());
        let (upper, work) = (self.snapshots.upper(container), self.snapshots.work(container));
        let (image, root) = (image.clone(), self.layer_with_root(image));
        let create = move |snapshots: &Snapshots, id: &Id| {
            snapshots.create(id, &image, lease, &root, limit)?;
            snapshots.are_limited_by_projects()
        };
        let fixed_projects = self.change_snapshot(container, create).await?;
        Ok(Snapshot { lower, upper, work, fixed_projects })
    }

    /// Keeps an image's layers for a container that mounts it as a volume, until its snapshot is removed.
    /// Returns the layers, top first; at least two directories, as overlayfs needs for a mount without upper.
    ///
    /// # Errors
    /// When the image has been removed meanwhile.
    pub async fn hold(self: &Arc<Self>, container: &Id, image: &Image) -> Result<Vec<PathBuf>, Error> {
        let lease = self.layers.shelf().lease(&image.layers)?;
        let held = image.clone();
        self.change_snapshot(container, move |snapshots, id| snapshots.hold(id, &held, lease)).await?;
        Ok(self.layers(image))
    }

    /// Removes a container's writable part and lets go of the layers it held; an unknown container is no error. The
    /// space is given back in the background.
    ///
    /// # Errors
    /// When it cannot be renamed away.
    pub async fn remove_snapshot(self: &Arc<Self>, container: &Id) -> Result<(), Error> {
        self.change_snapshot(container, Snapshots::remove).await
    }

    /// The directory that a container's snapshot is in, or will be; what else is put there goes away with it.
    pub fn container_directory(&self, container: &Id) -> PathBuf {
        self.snapshots.directory().join(container.as_str())
    }

    /// Containers that have a snapshot.
    pub fn snapshots(&self) -> Vec<Id> {
        self.snapshots.list()
    }

    /// Directories of an image's layers, top first; at least two, of which the lowest are empty if need be.
    pub fn layers(&self, image: &Image) -> Vec<PathBuf> {
        let mut directories = self.layers_with_content(image);
        let missing = self.empty.len().saturating_sub(directories.len());
        directories.extend_from_slice(&self.empty[..missing]);
        directories
    }

    fn layers_with_content(&self, image: &Image) -> Vec<PathBuf> {
        let mut directories = Vec::new();
        for layer in image.layers.iter().rev() {
            directories.push(self.layers.files(*layer));
            // Overlayfs does not look for the mark of an opaque directory on a layer's root.
            if self.layers.shelf().meta(*layer).is_some_and(|layer| layer.tally.opaque) {
                break;
            }
        }
        directories
    }

    /// Changes a container's snapshot while nobody else does. The change is made to its end even if the caller leaves.
    async fn change_snapshot<T: Send + 'static>(
        self: &Arc<Self>,
        container: &Id,
        change: impl FnOnce(&Snapshots, &Id) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let turn = self.snapshot_turns.lock(container).await;
        let (store, container) = (Arc::clone(self), container.clone());
        task::blocking(move || {
            let _turn = turn;
            change(&store.snapshots, &container)
        })
        .await
    }

    /// The directory that has the attributes of the image's root: that of the topmost layer which gives them.
    fn layer_with_root(&self, image: &Image) -> PathBuf {
        let gives_root = |layer: &&Digest| {
            let known = self.layers.shelf().meta(**layer);
            known.is_some_and(|layer| !layer.tally.implicit.iter().any(Vec::is_empty))
        };
        let layer = image.layers.iter().rev().find(gives_root);
        layer.map_or_else(|| self.empty[0].clone(), |layer| self.layers.files(*layer))
    }
}

/// Makes a layer of what every container has something mounted on. Where the image does not have it, it need not be made
/// in the container's writable part, which takes longer than mounting and would look like a change of the container's.
fn make_mount_points(layer: &Path) -> Result<(), Error> {
    make_empty(layer)?;
    ["dev", "etc", "proc", "sys"].iter().try_for_each(|name| make_empty(&layer.join(name)))?;
    for name in ["hostname", "hosts", "resolv.conf"] {
        let path = layer.join("etc").join(name);
        File::create(&path).map_err(|source| Error::file("create", &path, source))?;
        set_mode(&path, 0o644)?;
    }
    Ok(())
}

/// Makes the empty directory with the usual attributes of a root directory.
fn make_empty(path: &Path) -> Result<(), Error> {
    make_directory(path)?;
    set_mode(path, 0o755)
}

fn set_mode(path: &Path, mode: u32) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(path, mode).map_err(|source| Error::file("set attributes of", path, source))
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod kill_tests;

#[cfg(test)]
mod peer_tests;
