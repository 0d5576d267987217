//! Things on disk that are named by a digest and counted by their users.
//!
//! Blobs and layers are shared by images, containers and running pulls. A pull holds a [`Lease`] on what it needs, which
//! ends with it; an image or a container, whose record on disk outlives the process, holds a [`Claim`]. When the last
//! of them on a thing ends, the thing goes to the trash in the same critical section, so nothing that is in use is ever
//! removed and nothing that is not stays.

use std::{
    collections::{HashMap, hash_map::Entry},
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    image::{Error, trash::Trash},
    types::Digest,
};

/// A directory with a file or directory for each digest, named by its hexadecimal digits.
#[derive(Debug)]
pub(in crate::image) struct Shelf<M> {
    directory: PathBuf,
    trash: Arc<Trash>,
    items: Mutex<HashMap<Digest, Item<M>>>,
}

#[derive(Debug)]
struct Item<M> {
    /// What is known about it without looking at the disk.
    meta: M,
    users: usize,
}

/// Keeps things on a shelf until it is dropped.
#[derive(Debug)]
pub(in crate::image) struct Lease<M: Clone> {
    shelf: Arc<Shelf<M>>,
    digests: Vec<Digest>,
}

/// Keeps things on a shelf until it is released; that the process ends does not matter.
#[derive(Debug)]
pub(in crate::image) struct Claim<M: Clone> {
    shelf: Arc<Shelf<M>>,
    digests: Vec<Digest>,
}

impl<M: Clone> Shelf<M> {
    /// Opens the shelf in `directory`. `inspect` tells what is at a path, or `None` if that is not whole: it is
    /// discarded then, as everything that has no digest for a name. Blocking.
    pub(in crate::image) fn open(
        directory: PathBuf,
        trash: Arc<Trash>,
        inspect: impl Fn(&Path) -> Option<M>,
    ) -> Result<Arc<Self>, Error> {
        let failed = |source| Error::file("read directory", &directory, source);
        let mut items = HashMap::new();
        for entry in fs::read_dir(&directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let digest = entry.file_name().to_str().and_then(|hex| format!("sha256:{hex}").parse().ok());
            match digest.and_then(|digest| Some((digest, inspect(&entry.path())?))) {
                Some((digest, meta)) => {
                    items.insert(digest, Item { meta, users: 0 });
                }
                None => trash.discard(&entry.path())?,
            }
        }
        Ok(Arc::new(Self { directory, trash, items: Mutex::new(items) }))
    }

    /// The directory that everything is in.
    pub(in crate::image) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where a thing is or would be.
    pub(in crate::image) fn path(&self, digest: Digest) -> PathBuf {
        self.directory.join(digest.hex())
    }

    /// What is known about a thing, if it is there.
    pub(in crate::image) fn meta(&self, digest: Digest) -> Option<M> {
        self.lock().get(&digest).map(|item| item.meta.clone())
    }

    /// Keeps all of `digests`, or none and names one that is missing.
    pub(in crate::image) fn lease(self: &Arc<Self>, digests: &[Digest]) -> Result<Lease<M>, Error> {
        let mut items = self.lock();
        if let Some(missing) = digests.iter().find(|digest| !items.contains_key(digest)) {
            return Err(Error::Missing(*missing));
        }
        for digest in digests {
            if let Some(item) = items.get_mut(digest) {
                item.users += 1;
            }
        }
        Ok(Lease { shelf: Arc::clone(self), digests: digests.to_vec() })
    }

    /// Puts the finished file or directory `staged` on the shelf; if the shelf has it already, that one stays and
    /// `staged` is left where it is. Blocking.
    pub(in crate::image) fn put(self: &Arc<Self>, digest: Digest, staged: &Path, meta: M) -> Result<Lease<M>, Error> {
        let mut items = self.lock();
        let item = match items.entry(digest) {
            Entry::Occupied(there) => there.into_mut(),
            Entry::Vacant(free) => {
                let path = self.path(digest);
                // What is there without being known is not whole.
                self.trash.discard(&path)?;
                fs::rename(staged, &path).map_err(|source| Error::file("rename to", &path, source))?;
                free.insert(Item { meta, users: 0 })
            }
        };
        item.users += 1;
        Ok(Lease { shelf: Arc::clone(self), digests: vec![digest] })
    }

    /// Removes everything that has no user.
    pub(in crate::image) fn sweep(&self) {
        let mut items = self.lock();
        let unused: Vec<Digest> = items.iter().filter(|(_, item)| item.users == 0).map(|(digest, _)| *digest).collect();
        for digest in unused {
            self.remove(&mut items, digest);
        }
    }

    /// Combines what is known about all things.
    pub(in crate::image) fn fold<T>(&self, start: T, combine: impl Fn(T, &M) -> T) -> T {
        self.lock().values().fold(start, |sum, item| combine(sum, &item.meta))
    }

    fn release(&self, digests: &[Digest]) {
        let mut items = self.lock();
        for digest in digests {
            let Some(item) = items.get_mut(digest) else { continue };
            item.users -= 1;
            if item.users == 0 {
                self.remove(&mut items, *digest);
            }
        }
    }

    fn remove(&self, items: &mut HashMap<Digest, Item<M>>, digest: Digest) {
        match self.trash.discard(&self.path(digest)) {
            Ok(()) => {
                items.remove(&digest);
            }
            // It stays known and without a user, and the next start removes it.
            Err(error) => tracing::warn!(%digest, error = %crate::error::chain(&error), "cannot remove"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Item<M>>> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M: Clone> Lease<M> {
    /// A lease on nothing.
    pub(in crate::image) fn none(shelf: &Arc<Shelf<M>>) -> Self {
        Self { shelf: Arc::clone(shelf), digests: Vec::new() }
    }

    /// What is kept.
    pub(in crate::image) fn digests(&self) -> &[Digest] {
        &self.digests
    }

    /// Takes over what another lease keeps.
    pub(in crate::image) fn absorb(&mut self, mut other: Self) {
        self.digests.append(&mut other.digests);
    }
}

impl<M: Clone> Drop for Lease<M> {
    fn drop(&mut self) {
        self.shelf.release(&self.digests);
    }
}

impl<M: Clone> From<Lease<M>> for Claim<M> {
    fn from(mut lease: Lease<M>) -> Self {
        Self { shelf: Arc::clone(&lease.shelf), digests: std::mem::take(&mut lease.digests) }
    }
}

impl<M: Clone> Claim<M> {
    /// Lets go of what is kept. Blocking.
    pub(in crate::image) fn release(self) {
        self.shelf.release(&self.digests);
    }
}
