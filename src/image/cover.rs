//! Attributes of directories that an image's layers only imply.
//!
//! A layer may hold `usr/bin/tool` without an entry for `usr` or `usr/bin`, as builders that know nothing of the layers
//! below write it; it then means those directories as the layers below have them. But layers are unpacked one by one,
//! and overlayfs shows a directory with the attributes that the topmost layer gives it. So where an implied directory
//! would hide other attributes than the usual ones (as 1777 of `/tmp`), the image gets one more layer on top, its
//! *cover*: the directories in question, with their attributes and nothing in them.
//!
//! The cover also has the hard links that a layer makes to files of the layers below (see `lower_link.rs`).

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{self, Mode, OFlags},
    io::Errno,
};

use super::{
    Error,
    content::Lease,
    layers::{Layer, Layers},
    unpack::{Attributes, LowerLink, Tally, is_opaque},
};
use crate::types::Digest;

mod lower_link;

use lower_link::LinkedFile;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Makes the cover that an image with these layers (bottom first) needs, if it needs one. Blocking.
pub(super) fn make(layers: &Layers, diff_ids: &[Digest]) -> Result<Option<Lease<Layer>>, Error> {
    let stack = Stack::open(layers, diff_ids)?;
    let mut directories = stack.covered()?;
    let links = stack.lower_links()?;
    for name in links.iter().flat_map(LinkedFile::names) {
        stack.add_parents(&mut directories, name)?;
    }
    if directories.is_empty() && links.is_empty() {
        return Ok(None);
    }
    let digest = describe(&directories, &links);
    if let Ok(lease) = layers.shelf().lease(&[digest]) {
        return Ok(Some(lease));
    }
    layers.make(digest, |root| fill(root, &directories, &links)).map(Some)
}

/// How often a layer may be asked for a directory; no image that somebody built comes near.
const MAX_LOOKS: usize = 2_000_000;

/// Directories of a cover by path, parents before what is in them.
type Directories = BTreeMap<Vec<u8>, Attributes>;

/// An image's layers, top first.
struct Stack {
    layers: Vec<Opened>,
}

struct Opened {
    diff_id: Digest,
    path: PathBuf,
    root: OwnedFd,
    implicit: BTreeSet<Vec<u8>>,
    opaque: bool,
    links: Vec<LowerLink>,
}

/// What a layer says about a path.
enum Seen {
    /// Nothing: the layers below are asked.
    Nothing,
    /// A directory, which does (`true`) or does not hide what the layers below have in it.
    Directory(OwnedFd, bool),
    /// That there is no directory which the layers below could contribute to.
    End,
}

impl Stack {
    fn open(layers: &Layers, diff_ids: &[Digest]) -> Result<Self, Error> {
        let open = |diff_id: &Digest| {
            let path = layers.files(*diff_id);
            let root = File::open(&path).map_err(|source| Error::file("open", &path, source))?.into();
            let tally = layers.shelf().meta(*diff_id).map(|layer| layer.tally).unwrap_or_default();
            Ok::<_, Error>(Opened {
                diff_id: *diff_id,
                path,
                root,
                implicit: tally.implicit.into_iter().collect(),
                opaque: tally.opaque,
                links: tally.links,
            })
        };
        Ok(Self { layers: diff_ids.iter().rev().map(open).collect::<Result<_, _>>()? })
    }

    /// The directories whose attributes are hidden, and those that lead to them.
    fn covered(&self) -> Result<Directories, Error> {
        // The root's attributes are those of the container's writable part.
        let implied = self.layers.iter().flat_map(|layer| &layer.implicit).filter(|path| !path.is_empty());
        let implied: BTreeSet<_> = implied.collect();
        if implied.len() * self.layers.len() > MAX_LOOKS {
            tracing::warn!(directories = implied.len(), "too many implied directories; they get the usual attributes");
            return Ok(Directories::new());
        }
        let mut directories = Directories::new();
        for path in implied {
            let Some(attributes) = self.hidden_attributes(path)? else { continue };
            self.add_parents(&mut directories, path)?;
            directories.insert(path.clone(), attributes);
        }
        Ok(directories)
    }

    /// Adds the directories that lead to a path.
    fn add_parents(&self, directories: &mut Directories, path: &[u8]) -> Result<(), Error> {
        for end in path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at) {
            let parent = path[..end].to_vec();
            let (_, attributes) = self.attributes(&parent)?;
            directories.entry(parent).or_insert(attributes);
        }
        Ok(())
    }

    /// The attributes that a directory should have, if it would be seen with others.
    fn hidden_attributes(&self, path: &[u8]) -> Result<Option<Attributes>, Error> {
        let (is_implied, attributes) = self.attributes(path)?;
        Ok(Some(attributes).filter(|attributes| is_implied && !attributes.are_usual()))
    }

    /// The attributes that a directory should have, and whether the topmost layer with it only implies it.
    fn attributes(&self, path: &[u8]) -> Result<(bool, Attributes), Error> {
        let mut is_implied = false;
        for layer in &self.layers {
            let failed = |source: io::Error| Error::file("look for a directory in", &layer.path, source);
            match layer.look(path).map_err(failed)? {
                Seen::Nothing => {}
                Seen::End => break,
                Seen::Directory(found, hides) if layer.implicit.contains(path) => {
                    is_implied = true;
                    drop(found);
                    if hides {
                        break;
                    }
                }
                Seen::Directory(found, _) => return Ok((is_implied, Attributes::of(found.as_fd()).map_err(failed)?)),
            }
            if layer.opaque {
                break;
            }
        }
        Ok((is_implied, Attributes::usual()))
    }
}

impl Opened {
    fn look(&self, path: &[u8]) -> io::Result<Seen> {
        let mut directory = self.root.try_clone()?;
        let mut hides = false;
        for name in path.split(|byte| *byte == b'/') {
            directory = match fs::openat(&directory, name, DIRECTORY, Mode::empty()) {
                Ok(next) => next,
                Err(Errno::NOENT) => return Ok(if hides { Seen::End } else { Seen::Nothing }),
                Err(Errno::NOTDIR | Errno::LOOP) => return Ok(Seen::End),
                Err(errno) => return Err(errno.into()),
            };
            hides |= is_opaque(&directory);
        }
        Ok(Seen::Directory(directory, hides))
    }
}

/// The digest that a cover goes by: equal covers are one.
fn describe(directories: &Directories, links: &[LinkedFile]) -> Digest {
    let mut text = b"cover\0".to_vec();
    for (path, attributes) in directories {
        text.extend_from_slice(&(path.len() as u64).to_be_bytes());
        text.extend_from_slice(path);
        attributes.describe(&mut text);
    }
    links.iter().for_each(|link| link.describe(&mut text));
    Digest::of(&text)
}

fn fill(root: &Path, directories: &Directories, links: &[LinkedFile]) -> Result<Tally, Error> {
    let failed = |source: io::Error| Error::file("fill", root, source);
    let root_directory = File::open(root).map_err(failed)?;
    let open = |path: &[u8]| fs::openat(&root_directory, path, DIRECTORY, Mode::empty());
    for path in directories.keys() {
        fs::mkdirat(&root_directory, path.as_slice(), Mode::RWXU).map_err(|errno| failed(errno.into()))?;
    }
    let mut bytes = 0;
    for link in links {
        bytes += link.make(&root_directory).map_err(failed)?;
    }
    // From the inside out, as making a directory changes the time of the one around it.
    for (path, attributes) in directories.iter().rev() {
        let made = open(path).map_err(|errno| failed(errno.into()))?;
        attributes.set(made.as_fd()).map_err(failed)?;
    }
    let count = directories.len() as u64 + 1;
    let inodes = count + links.len() as u64;
    Ok(Tally { bytes: count * 4096 + bytes, inodes, implicit: vec![Vec::new()], ..Tally::default() })
}

#[cfg(test)]
mod tests;
