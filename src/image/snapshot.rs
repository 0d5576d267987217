//! Writable parts of containers: `<containers>/<id>/{upper,work,snapshot.json}`.
//!
//! Nothing here is synced to the disk: after a power loss no container runs any more, and a snapshot that is not whole
//! then is removed. What a killed daemon left is in the page cache and therefore there.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

pub use quota::LayerLimits;
use quota::{Quota, Quotas};
use serde::{Deserialize, Serialize};

use super::{
    Error, Image,
    content::{Claim, Lease},
    durable::{make_directory, unfinished_name},
    layers::{Layer, Layers},
    trash::Trash,
    usage::Space,
};
use crate::types::{Digest, Id, Size};

mod quota;

/// What a container's root file system is mounted from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Read-only layers, top first; the lowest one has what is mounted on in every container.
    pub lower: Vec<PathBuf>,
    /// Directory that takes the container's changes.
    pub upper: PathBuf,
    /// Overlayfs' working directory.
    pub work: PathBuf,
    /// The projects of its files are not the container's to change: the file system limits writable layers by them,
    /// those of other containers if not this one.
    pub fixed_projects: bool,
}

/// What `snapshot.json` says: which layers a container needs, and how its own is limited.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Record {
    /// The image that the container's root is made from.
    #[serde(default)]
    image: Option<Digest>,
    /// Images that it mounts as volumes.
    #[serde(default)]
    volumes: Vec<Digest>,
    /// Diff ids of that image's layers and of those of image volumes.
    layers: Vec<Digest>,
    /// The limit of the writable part, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    quota: Option<Quota>,
}

impl Record {
    /// Whether all is there that it tells of.
    fn is_whole(&self, snapshot: &Path) -> bool {
        match self.image {
            Some(_) => snapshot.join(UPPER).is_dir() && snapshot.join(WORK).is_dir(),
            None => !self.volumes.is_empty(),
        }
    }
}

/// All snapshots.
#[derive(Debug)]
pub(super) struct Snapshots {
    directory: PathBuf,
    trash: Arc<Trash>,
    quotas: Quotas,
    limits: LayerLimits,
    entries: Mutex<HashMap<Id, Entry>>,
}

#[derive(Debug, Default)]
struct Entry {
    record: Record,
    claims: Vec<Claim<Layer>>,
}

const RECORD: &str = "snapshot.json";
const UPPER: &str = "upper";
const WORK: &str = "work";

impl Snapshots {
    /// Opens the snapshots in `directory`, removing what is not whole. Blocking.
    ///
    /// Fails if snapshots are to be limited that ask for nothing, and the file system cannot do it.
    pub(super) fn open(directory: PathBuf, limits: LayerLimits, layers: &Layers) -> Result<Self, Error> {
        make_directory(&directory)?;
        let quotas = Quotas::open(&directory)?;
        if limits.default.is_some() {
            quotas.must_be_kept()?;
        }
        let trash = Arc::new(Trash::open(directory.join(".trash"))?);
        let this = Self { directory, trash, quotas, limits, entries: Mutex::default() };
        let failed = |source| Error::file("read directory", &this.directory, source);
        for entry in fs::read_dir(&this.directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            if name == ".trash" {
                continue;
            }
            let id = name.to_str().and_then(|name| name.parse::<Id>().ok());
            match id.and_then(|id| Some((id, read_record(&entry.path())?))) {
                Some((id, record)) if record.is_whole(&entry.path()) => this.restore(id, record, layers),
                torn => {
                    if let Some(quota) = torn.and_then(|(_, record)| record.quota) {
                        this.quotas.give_back(quota);
                    }
                    this.trash.discard(&entry.path())?;
                }
            }
        }
        Ok(this)
    }

    fn restore(&self, id: Id, record: Record, layers: &Layers) {
        let claims = record.layers.iter().filter_map(|layer| match layers.shelf().lease(&[*layer]) {
            Ok(lease) => Some(lease.into()),
            Err(error) => {
                tracing::warn!(container = %id, %error, "a snapshot has lost a layer");
                None
            }
        });
        let claims = claims.collect();
        if let Some(quota) = record.quota {
            self.quotas.adopt(quota);
        }
        self.lock().insert(id, Entry { record, claims });
    }

    /// Makes the writable part of a container. `root` is the directory whose attributes the container's root gets,
    /// `limit` the size that the container asks for. The caller sees to it that nobody else changes the same snapshot
    /// meanwhile. Blocking.
    pub(super) fn create(
        &self,
        id: &Id,
        image: &Image,
        lease: Lease<Layer>,
        root: &Path,
        limit: Option<Size>,
    ) -> Result<(), Error> {
        if self.record(id).image.is_some() {
            return Err(Error::SnapshotExists(id.clone()));
        }
        let size = self.limits.of(limit)?;
        make_directory(&self.directory.join(id.as_str()))?;
        let quota = size.map(|size| self.quota(id, size)).transpose()?;
        self.make_directories(id, root)?;
        if let Some(quota) = quota {
            self.quotas.apply(quota, [&self.upper(id), &self.work(id)])?;
        }
        self.extend(id, Record { image: Some(image.id), ..self.record(id) }, image, lease)
    }

    /// Takes a quota for a container's writable part and writes it down; it does not hold yet.
    fn quota(&self, id: &Id, size: Size) -> Result<Quota, Error> {
        let mut record = self.record(id);
        if let Some(failed) = record.quota {
            self.quotas.give_back(failed);
        }
        let quota = self.quotas.take(size)?;
        record.quota = Some(quota);
        self.lock().entry(id.clone()).or_default().record = record.clone();
        self.write(id, &record)?;
        Ok(quota)
    }

    /// Keeps an image's layers for a container that has a snapshot or will have one; otherwise as [`Self::create`].
    pub(super) fn hold(&self, id: &Id, image: &Image, lease: Lease<Layer>) -> Result<(), Error> {
        make_directory(&self.directory.join(id.as_str()))?;
        let mut record = self.record(id);
        record.volumes.push(image.id);
        self.extend(id, record, image, lease)
    }

    fn record(&self, id: &Id) -> Record {
        self.lock().get(id).map(|entry| entry.record.clone()).unwrap_or_default()
    }

    /// Adds an image's layers to those that a container needs, on disk first.
    fn extend(&self, id: &Id, mut record: Record, image: &Image, lease: Lease<Layer>) -> Result<(), Error> {
        record.layers.extend_from_slice(&image.layers);
        self.write(id, &record)?;
        let mut entries = self.lock();
        let entry = entries.entry(id.clone()).or_default();
        entry.record = record;
        entry.claims.push(lease.into());
        Ok(())
    }

    /// Removes a container's writable part; what it needed is let go. Blocking.
    pub(super) fn remove(&self, id: &Id) -> Result<(), Error> {
        // While its record can be found: the next daemon looks at none in the trash.
        if let Some(quota) = self.record(id).quota {
            self.quotas.give_back(quota);
        }
        self.trash.discard(&self.directory.join(id.as_str()))?;
        let removed = self.lock().remove(id);
        // Without the lock.
        removed.into_iter().flat_map(|entry| entry.claims).for_each(Claim::release);
        Ok(())
    }

    /// Containers that have a snapshot.
    pub(super) fn list(&self) -> Vec<Id> {
        self.lock().iter().filter(|(_, entry)| entry.record.image.is_some()).map(|(id, _)| id.clone()).collect()
    }

    /// Images that containers are made from or mount.
    pub(super) fn images(&self) -> Vec<Digest> {
        let entries = self.lock();
        entries.values().flat_map(|entry| entry.record.image.iter().chain(&entry.record.volumes)).copied().collect()
    }

    /// Containers that need one of these layers.
    pub(super) fn users_of(&self, layers: &[Digest]) -> Vec<Id> {
        let entries = self.lock();
        let needs = |entry: &Entry| entry.record.layers.iter().any(|layer| layers.contains(layer));
        entries.iter().filter(|(_, entry)| needs(entry)).map(|(id, _)| id.clone()).collect()
    }

    /// Directory of a container's changes.
    pub(super) fn upper(&self, id: &Id) -> PathBuf {
        self.directory.join(id.as_str()).join(UPPER)
    }

    /// Overlayfs' working directory for a container.
    pub(super) fn work(&self, id: &Id) -> PathBuf {
        self.directory.join(id.as_str()).join(WORK)
    }

    /// What a container's writable part takes, if the file system keeps count of it.
    pub(super) fn counted(&self, id: &Id) -> Option<Space> {
        self.quotas.usage(self.record(id).quota?)
    }

    /// Whether the file system limits writable parts, or could, by the projects of their files.
    pub(super) fn are_limited_by_projects(&self) -> Result<bool, Error> {
        self.quotas.are_kept()
    }

    /// Directory that all snapshots are in.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    fn make_directories(&self, id: &Id, root: &Path) -> Result<(), Error> {
        let (upper, work) = (self.upper(id), self.work(id));
        for path in [&upper, &work] {
            // Left by an attempt that failed.
            self.trash.discard(path)?;
            fs::create_dir(path).map_err(|source| Error::file("make directory", path, source))?;
        }
        // Overlayfs shows the attributes of the upper directory as those of the container's root.
        let like = || {
            let root = fs::metadata(root)?;
            std::os::unix::fs::chown(&upper, Some(root.uid()), Some(root.gid()))?;
            fs::set_permissions(&upper, fs::Permissions::from_mode(root.mode() & 0o7777))
        };
        like().map_err(|source| Error::file("set attributes of", &upper, source))
    }

    fn write(&self, id: &Id, record: &Record) -> Result<(), Error> {
        let directory = self.directory.join(id.as_str());
        let (path, unfinished) = (directory.join(RECORD), directory.join(unfinished_name()));
        let json = serde_json::to_vec(record).map_err(std::io::Error::from);
        let written = json.and_then(|json| fs::write(&unfinished, json)).and_then(|()| fs::rename(&unfinished, &path));
        written.map_err(|source| Error::file("write", &path, source))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Id, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read_record(snapshot: &Path) -> Option<Record> {
    serde_json::from_slice(&fs::read(snapshot.join(RECORD)).ok()?).ok()
}

#[cfg(test)]
mod tests;
