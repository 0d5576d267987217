//! Unpacked layers: `<root>/layers/<hex of the diff id>/{fs,layer.json}`.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};

use super::{
    Error,
    content::{Lease, Shelf},
    durable::{make_directory, unfinished_name},
    settle::{Settler, boot_id, is_whole},
    trash::Trash,
    unpack::{self, Expected, Limits, Tally, Unpacked},
};
use crate::types::Digest;

/// What is known about a layer, kept beside its files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Layer {
    /// Digest of its uncompressed archive, or what a layer that comes from none goes by.
    pub(super) diff_id: Digest,
    /// Digest of the archive's stream that it was unpacked from.
    #[serde(default)]
    pub(super) stream: Option<Digest>,
    /// The boot in which it was made.
    #[serde(default)]
    pub(super) boot: String,
    /// What it takes and how it depends on the layers below.
    #[serde(flatten)]
    pub(super) tally: Tally,
}

/// All layers.
#[derive(Debug)]
pub(super) struct Layers {
    shelf: Arc<Shelf<Layer>>,
    trash: Arc<Trash>,
    settler: Settler,
    limits: Limits,
    boot: String,
    /// Which layer a stream gives, as far as it was seen; the layer may be gone again.
    streams: Mutex<HashMap<Digest, Digest>>,
}

/// Name of the directory with a layer's files.
pub(super) const FILES: &str = "fs";
const RECORD: &str = "layer.json";

impl Layers {
    /// Opens the layers below `root` and forgets what was half unpacked. Blocking.
    pub(super) fn open(root: &Path, trash: Arc<Trash>, limits: Limits) -> Result<Self, Error> {
        let directory = root.join("layers");
        make_directory(&directory)?;
        spread(&directory);
        let shelf = Shelf::open(directory, Arc::clone(&trash), read_record)?;
        let streams = shelf.fold(HashMap::new(), |mut streams, layer: &Layer| {
            streams.extend(layer.stream.map(|stream| (stream, layer.diff_id)));
            streams
        });
        let settler = Settler::start(shelf.directory())?;
        let boot = boot_id().unwrap_or_default();
        Ok(Self { shelf, trash, settler, limits, boot, streams: Mutex::new(streams) })
    }

    /// The counted places of the layers.
    pub(super) fn shelf(&self) -> &Arc<Shelf<Layer>> {
        &self.shelf
    }

    /// Directory of a layer's files.
    pub(super) fn files(&self, diff_id: Digest) -> PathBuf {
        self.shelf.path(diff_id).join(FILES)
    }

    /// The layer that a stream gives, if it is there.
    pub(super) fn lease_stream(&self, stream: Digest) -> Option<(Digest, Lease<Layer>)> {
        let diff_id = *self.streams.lock().unwrap_or_else(PoisonError::into_inner).get(&stream)?;
        self.shelf.lease(&[diff_id]).ok().map(|lease| (diff_id, lease))
    }

    /// Unpacks a stream where nothing sees it yet. Blocking.
    pub(super) fn stage(
        &self,
        source: impl Read + Send,
        media_type: &str,
        expected: Option<Expected>,
    ) -> Result<Staged, Error> {
        let staging = Staging::begin(self.shelf.directory(), &self.trash)?;
        let root = File::open(&staging.files).map_err(|source| Error::file("open", &staging.files, source))?;
        let unpacked = unpack::unpack(source, media_type, expected, root.into(), self.limits);
        let unpacked =
            unpacked.map_err(|source| Error::Layer { digest: expected.map(|layer| layer.digest), source })?;
        Ok(Staged { staging, unpacked })
    }

    /// Writes a stream into the only file of a layer which goes by `digest`, where nothing sees it yet. Blocking.
    pub(super) fn stage_file(
        &self,
        source: impl Read,
        expected: Expected,
        digest: Digest,
        path: &Path,
    ) -> Result<StagedFile, Error> {
        let staging = Staging::begin(self.shelf.directory(), &self.trash)?;
        let written = unpack::write_file(source, expected, &staging.files, path, self.limits);
        let tally = written.map_err(|source| Error::Layer { digest: Some(expected.digest), source })?;
        Ok(StagedFile { staging, digest, tally })
    }

    /// Makes a layer with one file visible. Blocking.
    pub(super) fn commit_file(&self, staged: &StagedFile) -> Result<Lease<Layer>, Error> {
        let StagedFile { staging, digest, tally } = staged;
        let (boot, tally) = (self.boot.clone(), tally.clone());
        self.put(staging, Layer { diff_id: *digest, stream: None, boot, tally })
    }

    /// Makes a layer that comes from no archive, as `fill` makes its files. Blocking.
    pub(super) fn make(
        &self,
        digest: Digest,
        fill: impl FnOnce(&Path) -> Result<Tally, Error>,
    ) -> Result<Lease<Layer>, Error> {
        let staging = Staging::begin(self.shelf.directory(), &self.trash)?;
        let tally = fill(&staging.files)?;
        self.put(&staging, Layer { diff_id: digest, stream: None, boot: self.boot.clone(), tally })
    }

    /// Makes a layer visible. Blocking.
    pub(super) fn commit(&self, staged: &Staged) -> Result<Lease<Layer>, Error> {
        let Unpacked { diff_id, digest, tally, .. } = &staged.unpacked;
        let (boot, tally) = (self.boot.clone(), tally.clone());
        let lease = self.put(&staged.staging, Layer { diff_id: *diff_id, stream: Some(*digest), boot, tally })?;
        self.streams.lock().unwrap_or_else(PoisonError::into_inner).insert(*digest, *diff_id);
        Ok(lease)
    }

    fn put(&self, staging: &Staging, layer: Layer) -> Result<Lease<Layer>, Error> {
        staging.record(&layer)?;
        let diff_id = layer.diff_id;
        let lease = self.shelf.put(diff_id, &staging.path, layer)?;
        self.settler.add(&self.shelf.path(diff_id))?;
        Ok(lease)
    }
}

/// Tells ext4 that what is in this directory does not belong together, `chattr(1)` attribute `T`.
///
/// It then puts each layer into a block group by chance instead of all into one, where a new layer's files would have to
/// find their way between those of the layers before it. Without a journal, ext4 even looks at each inode that was
/// deleted there in the last minutes before it takes another one.
fn spread(directory: &Path) {
    use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
    let spread = || {
        let directory = File::open(directory)?;
        let flags = ioctl_getflags(&directory)?;
        Ok::<_, std::io::Error>(ioctl_setflags(&directory, flags | IFlags::TOPDIR)?)
    };
    if let Err(error) = spread() {
        tracing::debug!(%error, "the file system takes no hint about layers");
    }
}

fn read_record(layer: &Path) -> Option<Layer> {
    let record: Layer = serde_json::from_slice(&fs::read(layer.join(RECORD)).ok()?).ok()?;
    let is_named_right = layer.file_name()? == record.diff_id.hex().as_str();
    (is_named_right && layer.join(FILES).is_dir() && is_whole(layer, &record.boot)).then_some(record)
}

/// A layer that is unpacked but not visible; dropping it discards it.
#[derive(Debug)]
pub(super) struct Staged {
    staging: Staging,
    /// What it is.
    pub(super) unpacked: Unpacked,
}

/// A layer with one file that is written but not visible; dropping it discards it.
#[derive(Debug)]
pub(super) struct StagedFile {
    staging: Staging,
    /// What it goes by.
    pub(super) digest: Digest,
    tally: Tally,
}

/// A directory that a layer is made in; dropping it discards it.
#[derive(Debug)]
struct Staging {
    path: PathBuf,
    files: PathBuf,
    trash: Arc<Trash>,
}

impl Staging {
    fn begin(directory: &Path, trash: &Arc<Trash>) -> Result<Self, Error> {
        let path = directory.join(unfinished_name());
        let files = path.join(FILES);
        let staging = Self { path, files, trash: Arc::clone(trash) };
        make_directory(&staging.path)?;
        // What containers see as their root, unless the archive says otherwise.
        use std::os::unix::fs::PermissionsExt as _;
        let made = fs::create_dir(&staging.files)
            .and_then(|()| fs::set_permissions(&staging.files, fs::Permissions::from_mode(0o755)));
        made.map_err(|source| Error::file("make directory", &staging.files, source))?;
        Ok(staging)
    }

    fn record(&self, layer: &Layer) -> Result<(), Error> {
        let path = self.path.join(RECORD);
        let written = serde_json::to_vec(layer).map_err(std::io::Error::from).and_then(|json| fs::write(&path, json));
        written.map_err(|source| Error::file("write", &path, source))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if let Err(error) = self.trash.discard(&self.path) {
            tracing::warn!(error = %crate::error::chain(&error), "cannot discard; the next start does");
        }
    }
}

#[cfg(test)]
mod tests;
