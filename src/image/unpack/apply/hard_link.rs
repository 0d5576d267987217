//! Hard links, to files of the same layer or of a layer below.

use std::{io, os::fd::BorrowedFd};

use rustix::fs::{self, AtFlags, FileType};

use super::Applier;
use crate::image::{
    tar::Header,
    unpack::{
        Error, LowerLink,
        entry_path::{EntryPath, Purpose},
        shown, tree,
    },
};

impl Applier {
    /// Makes another name of something that came earlier in this layer, or notes that it must be in a layer below.
    pub(super) fn hard_link(&mut self, parent: &[&[u8]], name: &[u8], header: &Header) -> Result<(), Error> {
        let failed = |source: io::Error| Error::File { operation: "link", path: shown(&header.path), source };
        let refuse = |reason| Error::Path { path: shown(&header.path), reason };
        let target = EntryPath::parse(&header.link)?;
        let Purpose::Content { parent: target_parent, name: target } = target.purpose()? else {
            return Err(refuse("it is a hard link to something that is no file"));
        };
        let here = self.tree.existing_directory(target_parent).ok().and_then(|directory| {
            let found = fs::statat(&directory, target, AtFlags::SYMLINK_NOFOLLOW).ok()?;
            Some((directory, found))
        });
        let Some((target_directory, found)) = here else {
            let target = [target_parent, &[target]].concat().join(&b'/');
            return self.lower_link(parent, name, target).map_err(failed);
        };
        if FileType::from_raw_mode(found.st_mode) == FileType::Directory || tree::is_whiteout(&found) {
            return Err(refuse("it is a hard link to something that is no file"));
        }
        let directory = self.tree.directory(parent).map_err(failed)?;
        let there = fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW);
        if there.is_ok_and(|there| (there.st_dev, there.st_ino) == (found.st_dev, found.st_ino)) {
            return Ok(());
        }
        let link = |directory: BorrowedFd<'_>| fs::linkat(&target_directory, target, directory, name, AtFlags::empty());
        self.place(parent, name, link).map_err(failed)
    }

    /// Notes a hard link to a file that is not here. Until it is made, nothing has its name.
    fn lower_link(&mut self, parent: &[&[u8]], name: &[u8], target: Vec<u8>) -> io::Result<()> {
        let directory = self.tree.directory(parent)?;
        if fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            tree::remove(directory, name)?;
            self.tree.forget_recent();
        }
        let path = [parent, &[name]].concat().join(&b'/');
        // A link to such a link is one to the same file.
        let earlier = self.tally.links.iter().find(|link| link.path == target);
        let target = earlier.map_or(target, |link| link.target.clone());
        self.times_names += path.len() + target.len();
        self.tally.links.retain(|link| link.path != path);
        self.tally.links.push(LowerLink { path, target });
        Ok(())
    }

    /// Whether the layer itself has something of this name.
    pub(super) fn has(&self, path: &[u8]) -> bool {
        let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(at) => (&path[..at], &path[at + 1..]),
            None => (&b""[..], path),
        };
        let found = self.tree.real_directory(parent).map(|parent| fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW));
        matches!(found, Ok(Ok(_)))
    }
}
