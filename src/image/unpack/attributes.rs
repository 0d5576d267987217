//! Owner, mode, time and extended attributes of files.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd, BorrowedFd},
};

use rustix::{
    fs::{self, AtFlags, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags},
    io::Errno,
};

use super::tree::magic_path;
use crate::image::tar::{Header, Kind, Time};

const OPAQUE_XATTR: &str = "trusted.overlay.opaque";

/// What a file has beside its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::image) struct Attributes {
    uid: u32,
    gid: u32,
    mode: u32,
    mtime: Time,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Attributes {
    /// What an archive says of an entry, but for overlayfs' own extended attributes: those could make one layer's file
    /// show another's.
    pub(super) fn given(header: &Header) -> Self {
        let Header { uid, gid, mode, mtime, .. } = *header;
        let mut xattrs = header.xattrs.clone();
        xattrs.retain(|name, _| !is_of_overlayfs(name));
        Self { uid, gid, mode, mtime, xattrs }
    }

    /// What a directory has that nobody said anything of.
    pub(in crate::image) fn usual() -> Self {
        Self { uid: 0, gid: 0, mode: 0o755, mtime: Time::default(), xattrs: BTreeMap::new() }
    }

    /// Whether they are the usual ones, whatever the time.
    pub(in crate::image) fn are_usual(&self) -> bool {
        *self == Self { mtime: self.mtime, ..Self::usual() }
    }

    /// Reads those of an open file or directory.
    pub(in crate::image) fn of(file: BorrowedFd<'_>) -> io::Result<Self> {
        let found = fs::fstat(file)?;
        let mut names = vec![0; 64 << 10];
        let length = fs::flistxattr(file, &mut names[..])?;
        let mut xattrs = BTreeMap::new();
        let names = names[..length].split(|byte| *byte == 0);
        for name in names.filter(|name| !name.is_empty() && !is_of_overlayfs(name)) {
            let mut value = vec![0; 64 << 10];
            let length = fs::fgetxattr(file, name, &mut value[..])?;
            xattrs.insert(name.to_vec(), value[..length].to_vec());
        }
        Ok(Self {
            uid: found.st_uid,
            gid: found.st_gid,
            mode: found.st_mode & 0o7777,
            mtime: Time { seconds: found.st_mtime, nanos: u32::try_from(found.st_mtime_nsec).unwrap_or_default() },
            xattrs,
        })
    }

    /// The extended attributes, without overlayfs' own.
    pub(in crate::image) fn into_xattrs(self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        self.xattrs
    }

    /// Gives them to an open file or directory, in the order in which none undoes another (`chown(2)` clears set-id
    /// bits and file capabilities).
    pub(in crate::image) fn set(&self, file: BorrowedFd<'_>) -> io::Result<()> {
        fs::fchown(file, Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.gid)))?;
        fs::fchmod(file, Mode::from_raw_mode(self.mode))?;
        for (name, value) in &self.xattrs {
            tolerate_unsupported(fs::fsetxattr(file, name.as_slice(), value, XattrFlags::empty()))?;
        }
        set_time(file, self.mtime)
    }

    /// Gives them to what cannot be opened: a link, a device, a pipe.
    pub(super) fn set_at(&self, parent: BorrowedFd<'_>, name: &[u8], kind: Kind) -> io::Result<()> {
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        if kind != Kind::SymbolicLink {
            fs::chmodat(parent, name, Mode::from_raw_mode(self.mode), AtFlags::empty())?;
        }
        for (key, value) in &self.xattrs {
            let path = magic_path(parent, name);
            tolerate_unsupported(fs::lsetxattr(path, key.as_slice(), value, XattrFlags::empty()))?;
        }
        Ok(fs::utimensat(parent, name, &times(self.mtime), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Appends them to the description of something that is to be known by its digest.
    pub(in crate::image) fn describe(&self, text: &mut Vec<u8>) {
        for number in [self.uid, self.gid, self.mode, self.mtime.nanos] {
            text.extend_from_slice(&number.to_be_bytes());
        }
        text.extend_from_slice(&self.mtime.seconds.to_be_bytes());
        text.extend_from_slice(&(self.xattrs.len() as u64).to_be_bytes());
        for part in self.xattrs.iter().flat_map(|(name, value)| [name, value]) {
            text.extend_from_slice(&(part.len() as u64).to_be_bytes());
            text.extend_from_slice(part);
        }
    }
}

/// Sets the time of last change of an open file or directory, and that of last access too.
pub(super) fn set_time(file: impl AsFd, time: Time) -> io::Result<()> {
    Ok(fs::futimens(file, &times(time))?)
}

/// Hides what the layers below have in this directory.
pub(super) fn make_opaque(directory: impl AsFd) -> io::Result<()> {
    Ok(fs::fsetxattr(directory, OPAQUE_XATTR, b"y", XattrFlags::empty())?)
}

/// Whether what the layers below have in this directory is hidden.
pub(in crate::image) fn is_opaque(directory: impl AsFd) -> bool {
    let mut value = [0; 1];
    matches!(fs::fgetxattr(directory, OPAQUE_XATTR, &mut value), Ok(1)) && value == *b"y"
}

fn is_of_overlayfs(xattr: &[u8]) -> bool {
    xattr.starts_with(b"trusted.overlay.") || xattr.starts_with(b"user.overlay.")
}

fn times(time: Time) -> Timestamps {
    let time = Timespec { tv_sec: time.seconds, tv_nsec: time.nanos.into() };
    Timestamps { last_access: time, last_modification: time }
}

/// Other engines, too, leave attributes away that the file system has no room for.
fn tolerate_unsupported(result: rustix::io::Result<()>) -> io::Result<()> {
    match result {
        Err(Errno::OPNOTSUPP) => Ok(()),
        other => Ok(other?),
    }
}
