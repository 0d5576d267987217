//! All images and their names: records on disk, and in memory what they say.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard},
};

use super::{
    Error, Image,
    config::Configuration,
    content::{Blobs, Claim, Lease},
    durable::{make_directory, sync_directory, write_file},
    layers::{Layer, Layers},
    record::Record,
    trash::Trash,
};
use crate::{
    fault,
    types::{Digest, Reference, Timestamp},
};

/// The images of a store.
///
/// A change is first written to disk, then seen in memory. When several records change, the one that gains a name is
/// written before the one that loses it; between the two the name stands in both, and at the next start the later
/// record wins.
#[derive(Debug)]
pub(super) struct Images {
    directory: PathBuf,
    pinned: Vec<String>,
    /// Held while records are written.
    writing: Mutex<()>,
    index: RwLock<Index>,
}

#[derive(Debug, Default)]
struct Index {
    entries: BTreeMap<Digest, Entry>,
    /// Ids by name, with tag or with digest.
    names: HashMap<String, Digest>,
}

/// An image with what it keeps on disk.
#[derive(Debug)]
struct Entry {
    record: Record,
    configuration: Configuration,
    image: Arc<Image>,
    layers: Claim<Layer>,
    blobs: Claim<u64>,
}

impl Entry {
    /// Replaces what is known about the image's names.
    fn set_record(&mut self, record: Record, pinned: &[String]) {
        self.image = Arc::new(record.image(&self.configuration, is_pinned(&record, pinned)));
        self.record = record;
    }

    /// Lets go of what the image keeps on disk.
    fn release(self) {
        self.layers.release();
        self.blobs.release();
    }
}

/// An image that is complete on disk, to be added with its names.
#[derive(Debug)]
pub(super) struct Addition {
    /// Everything about it but its names.
    pub(super) record: Record,
    /// Its configuration.
    pub(super) configuration: Configuration,
    /// Its layers.
    pub(super) layers: Lease<Layer>,
    /// Its blobs.
    pub(super) blobs: Lease<u64>,
    /// Names that it gets.
    pub(super) names: Names,
}

/// Names of an image, normalised.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Names {
    /// With tags.
    pub(super) tags: Vec<String>,
    /// With digests.
    pub(super) digests: Vec<String>,
}

impl Images {
    /// Opens the records below `root`; those whose content is not all there are dropped. Blocking.
    pub(super) fn open(
        root: &Path,
        pinned: Vec<String>,
        layers: &Layers,
        blobs: &Blobs,
        trash: &Trash,
    ) -> Result<Self, Error> {
        let directory = root.join("images");
        make_directory(&directory)?;
        let this = Self { directory, pinned, writing: Mutex::new(()), index: RwLock::default() };
        let mut found = Vec::new();
        for path in this.record_paths()? {
            match load(&path, layers, blobs) {
                Ok(addition) => found.push(addition),
                Err(error) => {
                    tracing::warn!(record = %path.display(), error = %crate::error::chain(&error), "dropping an image");
                    trash.discard(&path)?;
                }
            }
        }
        found.sort_by_key(|addition| addition.record.updated);
        for addition in found {
            this.settle_names(&addition.record)?;
            this.insert(addition);
        }
        Ok(this)
    }

    fn record_paths(&self) -> Result<Vec<PathBuf>, Error> {
        let failed = |source| Error::file("read directory", &self.directory, source);
        fs::read_dir(&self.directory).map_err(failed)?.map(|entry| Ok(entry.map_err(failed)?.path())).collect()
    }

    /// Adds an image, or names to an image; a name that another image had is taken from it. Blocking.
    pub(super) fn add(&self, mut addition: Addition) -> Result<Arc<Image>, Error> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let record = &mut addition.record;
        if let Some(entry) = self.read().entries.get(&record.id) {
            (record.tags, record.digests) = (entry.record.tags.clone(), entry.record.digests.clone());
            let added = std::mem::replace(&mut record.signatures, entry.record.signatures.clone());
            record.add_signatures(added);
        }
        record.add_names(std::mem::take(&mut addition.names));
        record.updated = Timestamp::now();
        self.write(record)?;
        self.settle_names(record)?;
        Ok(self.insert(addition))
    }

    /// Gives an image more names; one that another image had is taken from it. Blocking.
    pub(super) fn add_names(&self, id: Digest, names: Names) -> Result<(), Error> {
        self.rename(id, |record| record.add_names(names))
    }

    /// Takes a name from an image, which then may have none left. Blocking.
    pub(super) fn remove_name(&self, id: Digest, name: &str) -> Result<(), Error> {
        self.rename(id, |record| {
            record.tags.retain(|tag| tag != name);
            record.digests.retain(|digest| digest != name);
        })
    }

    fn rename(&self, id: Digest, change: impl FnOnce(&mut Record)) -> Result<(), Error> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut record = self.record(id).ok_or_else(|| Error::NotFound(id.to_string()))?;
        change(&mut record);
        record.updated = Timestamp::now();
        self.write(&record)?;
        self.settle_names(&record)?;
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        index.names.retain(|_, named| *named != id);
        for name in record.tags.iter().chain(&record.digests) {
            index.names.insert(name.clone(), id);
        }
        if let Some(entry) = index.entries.get_mut(&id) {
            entry.set_record(record, &self.pinned);
        }
        Ok(())
    }

    /// What is written down about an image.
    pub(super) fn record(&self, id: Digest) -> Option<Record> {
        self.read().entries.get(&id).map(|entry| entry.record.clone())
    }

    /// Removes an image with all its names; what only it used on disk goes with it. Blocking.
    pub(super) fn remove(&self, id: Digest) -> Result<(), Error> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.record_path(id);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::file("remove", &path, error));
            }
            _ => sync_directory(&self.directory)?,
        }
        fault::point("image.remove.record");
        let removed = {
            let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
            index.names.retain(|_, named| *named != id);
            index.entries.remove(&id)
        };
        // When nobody can find the image any more, and without the lock.
        removed.into_iter().for_each(Entry::release);
        Ok(())
    }

    /// Finds an image by name, by id with or without the algorithm, or by the beginning of its id if that is no
    /// other's too.
    pub(super) fn resolve(&self, name: &str) -> Option<Arc<Image>> {
        let index = self.read();
        let hex = name.strip_prefix("sha256:").unwrap_or(name);
        if let Ok(id) = format!("sha256:{hex}").parse::<Digest>() {
            return index.image(id);
        }
        let named = name.parse::<Reference>().ok().and_then(|reference| index.named(&reference));
        named.or_else(|| index.by_prefix(hex))
    }

    /// All images, by id.
    pub(super) fn list(&self) -> Vec<Arc<Image>> {
        self.read().entries.values().map(|entry| Arc::clone(&entry.image)).collect()
    }

    /// Number of records, each of which takes an inode.
    pub(super) fn count(&self) -> usize {
        self.read().entries.len()
    }

    /// Takes the names of `record` from all others. The caller holds `writing`.
    fn settle_names(&self, record: &Record) -> Result<(), Error> {
        let is_taken = |name: &String| record.tags.contains(name) || record.digests.contains(name);
        let names = || record.tags.iter().chain(&record.digests);
        let losers: Vec<Record> = {
            let index = self.read();
            let ids = names().filter_map(|name| index.names.get(name)).filter(|id| **id != record.id);
            let ids: std::collections::BTreeSet<_> = ids.collect();
            ids.into_iter().filter_map(|id| index.entries.get(id)).map(|entry| entry.record.clone()).collect()
        };
        for mut loser in losers {
            loser.tags.retain(|name| !is_taken(name));
            loser.digests.retain(|name| !is_taken(name));
            self.write(&loser)?;
            let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
            if let Some(entry) = index.entries.get_mut(&loser.id) {
                entry.set_record(loser, &self.pinned);
            }
        }
        Ok(())
    }

    fn insert(&self, addition: Addition) -> Arc<Image> {
        let Addition { record, configuration, layers, blobs, .. } = addition;
        let image = Arc::new(record.image(&configuration, is_pinned(&record, &self.pinned)));
        let id = record.id;
        let replaced = {
            let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
            for name in record.tags.iter().chain(&record.digests) {
                index.names.insert(name.clone(), id);
            }
            let image = Arc::clone(&image);
            let entry = Entry { record, configuration, image, layers: layers.into(), blobs: blobs.into() };
            index.entries.insert(id, entry)
        };
        // What the image kept before goes without the lock; what it still needs is claimed again already.
        replaced.into_iter().for_each(Entry::release);
        image
    }

    fn write(&self, record: &Record) -> Result<(), Error> {
        let path = self.record_path(record.id);
        let json = serde_json::to_vec(record).map_err(|source| Error::file("write", &path, source.into()))?;
        write_file(&path, &json)
    }

    fn record_path(&self, id: Digest) -> PathBuf {
        self.directory.join(format!("{}.json", id.hex()))
    }

    fn read(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Index {
    fn image(&self, id: Digest) -> Option<Arc<Image>> {
        self.entries.get(&id).map(|entry| Arc::clone(&entry.image))
    }

    /// A digest counts more than a tag beside it.
    fn named(&self, reference: &Reference) -> Option<Arc<Image>> {
        let name = match reference.digest() {
            Some(digest) => reference.pinned(digest).to_string(),
            None => reference.to_string(),
        };
        self.image(*self.names.get(&name)?)
    }

    fn by_prefix(&self, prefix: &str) -> Option<Arc<Image>> {
        if prefix.is_empty() {
            return None;
        }
        let mut found = self.entries.iter().filter(|(id, _)| id.hex().starts_with(prefix));
        let (_, entry) = found.next()?;
        found.next().is_none().then(|| Arc::clone(&entry.image))
    }
}

/// Whether one of the image's names is one that must not be collected; `*` at a pattern's end matches any rest.
fn is_pinned(record: &Record, pinned: &[String]) -> bool {
    let matches = |pattern: &String, name: &String| match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => pattern.parse::<Reference>().is_ok_and(|pinned| *name == pinned.to_string()),
    };
    let mut names = record.tags.iter().chain(&record.digests);
    names.any(|name| pinned.iter().any(|pattern| matches(pattern, name)))
}

/// Reads a record and takes hold of everything that it needs.
fn load(path: &Path, layers: &Layers, blobs: &Blobs) -> Result<Addition, Error> {
    let json = fs::read(path).map_err(|source| Error::file("read", path, source))?;
    let record: Record = serde_json::from_slice(&json).map_err(|source| Error::file("read", path, source.into()))?;
    if path.file_stem().is_none_or(|stem| stem != record.id.hex().as_str()) {
        return Err(Error::Contents(format!("the record is that of {}", record.id)));
    }
    let document = blobs.read(record.id)?;
    let configuration = match record.artifact {
        None => Configuration::parse(record.id, &document)?,
        Some(_) => Configuration::of_artifact(record.layers.clone()),
    };
    Ok(Addition {
        layers: layers.shelf().lease(&record.all_layers())?,
        blobs: blobs.shelf().lease(&record.blobs())?,
        record,
        configuration,
        names: Names::default(),
    })
}

#[cfg(test)]
mod tests;
