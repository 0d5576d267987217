//! Hard links that a layer makes to files of the layers below.
//!
//! Engines that unpack one layer upon the other copy the file up and link the copy. Here the copy is in the cover, under
//! all names that nothing above has changed.

use std::{collections::BTreeMap, fs::File, io};

use rustix::{
    fs::{self, AtFlags, FileType, Mode, OFlags, Stat},
    io::Errno,
};

use super::{Error, Opened, Seen, Stack};
use crate::{
    image::unpack::{Attributes, is_whiteout, shown},
    types::Digest,
};

/// A file that has got more names.
pub(super) struct LinkedFile {
    file: File,
    /// The layer that it is in, and where.
    layer: Digest,
    target: Vec<u8>,
    names: Vec<Vec<u8>>,
}

/// What a layer says about a path.
enum Entry {
    /// Nothing: the layers below are asked.
    Nothing,
    /// That there is nothing, whatever the layers below have.
    Gone,
    /// What is there, and in which directory.
    There(Box<(std::os::fd::OwnedFd, Stat)>),
}

impl Stack {
    /// The files that layers link to and that can be seen by these names, in order.
    pub(super) fn lower_links(&self) -> Result<Vec<LinkedFile>, Error> {
        let mut files: BTreeMap<(Digest, Vec<u8>), LinkedFile> = BTreeMap::new();
        for (position, layer) in self.layers.iter().enumerate() {
            for link in &layer.links {
                if self.is_changed(&link.path, &self.layers[..position])? {
                    continue;
                }
                let Some((found, file)) = self.file_below(&link.target, position)? else {
                    let (path, target) = (shown(&link.path), shown(&link.target));
                    let reason = format!("{path:?} is a hard link to {target:?}, which no layer below has as a file");
                    return Err(Error::Unusable { what: "layer", digest: layer.diff_id, reason });
                };
                let key = (self.layers[found].diff_id, link.target.clone());
                let is_seen = !self.is_changed(&link.target, &self.layers[..found])?;
                let linked = files.entry(key).or_insert_with(|| LinkedFile {
                    file,
                    layer: self.layers[found].diff_id,
                    target: link.target.clone(),
                    names: is_seen.then(|| link.target.clone()).into_iter().collect(),
                });
                linked.names.push(link.path.clone());
            }
        }
        Ok(files.into_values().collect())
    }

    /// Whether one of these layers has a say about a path.
    fn is_changed(&self, path: &[u8], layers: &[Opened]) -> Result<bool, Error> {
        for layer in layers {
            let own = layer.links.iter().any(|link| link.path == path);
            if own || !matches!(layer.entry(path)?, Entry::Nothing) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The regular file that is seen at a path below a layer, and the layer that has it.
    fn file_below(&self, path: &[u8], position: usize) -> Result<Option<(usize, File)>, Error> {
        for (found, layer) in self.layers.iter().enumerate().skip(position + 1) {
            match layer.entry(path)? {
                Entry::Nothing => {}
                Entry::Gone => break,
                Entry::There(there) => {
                    let (parent, stat) = *there;
                    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                        break;
                    }
                    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    let file = fs::openat(&parent, split(path).1, flags, Mode::empty());
                    let file = file.map_err(|errno| Error::file("open a file of", &layer.path, errno.into()))?;
                    return Ok(Some((found, file.into())));
                }
            }
        }
        Ok(None)
    }
}

impl Opened {
    fn entry(&self, path: &[u8]) -> Result<Entry, Error> {
        let failed = |source: io::Error| Error::file("look for a file in", &self.path, source);
        let (parent, name) = split(path);
        let seen = match parent {
            b"" => Seen::Directory(self.root.try_clone().map_err(failed)?, false),
            parent => self.look(parent).map_err(failed)?,
        };
        let below = if self.opaque { Entry::Gone } else { Entry::Nothing };
        let (directory, hides) = match seen {
            Seen::Nothing => return Ok(below),
            Seen::End => return Ok(Entry::Gone),
            Seen::Directory(directory, hides) => (directory, hides),
        };
        match fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) if is_whiteout(&found) => Ok(Entry::Gone),
            Ok(found) => Ok(Entry::There(Box::new((directory, found)))),
            Err(Errno::NOENT) if hides => Ok(Entry::Gone),
            Err(Errno::NOENT) => Ok(below),
            Err(errno) => Err(failed(errno.into())),
        }
    }
}

impl LinkedFile {
    /// All names that the copy has.
    pub(super) fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.names.iter().map(Vec::as_slice)
    }

    /// Appends it to the description of a cover.
    pub(super) fn describe(&self, text: &mut Vec<u8>) {
        let layer = self.layer.to_string();
        for part in [layer.as_bytes(), &self.target].into_iter().chain(self.names()) {
            text.extend_from_slice(&(part.len() as u64).to_be_bytes());
            text.extend_from_slice(part);
        }
        text.push(0);
    }

    /// Makes the copy and its names, whose directories are there; returns the bytes that it takes. Blocking.
    pub(super) fn make(&self, root: &File) -> io::Result<u64> {
        let Some((first, others)) = self.names.split_first() else { return Ok(0) };
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut copy = File::from(fs::openat(root, first.as_slice(), flags, Mode::RUSR | Mode::WUSR)?);
        let length = io::copy(&mut &self.file, &mut copy)?;
        use std::os::fd::AsFd as _;
        Attributes::of(self.file.as_fd())?.set(copy.as_fd())?;
        for name in others {
            fs::linkat(root, first.as_slice(), root, name.as_slice(), AtFlags::empty())?;
        }
        Ok(length.next_multiple_of(4096))
    }
}

/// Directory and name of a path.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}
