//! Making mounts that are nowhere yet and putting them in place by descriptor: `fsopen(2)`, `open_tree(2)`,
//! `move_mount(2)`.

use std::os::fd::{AsFd, OwnedFd};

use rustix::{
    fs::CWD,
    io::Result,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_fd,
        fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
    },
    path::Arg,
};

/// A file system in the making.
#[derive(Debug)]
pub struct FileSystem(OwnedFd);

impl FileSystem {
    /// Begins one of this type; what it is called as a source is the type too.
    pub fn new(kind: &str) -> Result<Self> {
        let new = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).map(Self)?;
        new.string("source", kind)?;
        Ok(new)
    }

    /// Sets an option that is a word.
    pub fn flag(&self, key: impl Arg) -> Result<&Self> {
        fsconfig_set_flag(&self.0, key).map(|()| self)
    }

    /// Sets an option that has a value; the kernel takes at most 255 bytes.
    pub fn string(&self, key: &str, value: impl Arg) -> Result<&Self> {
        fsconfig_set_string(&self.0, key, value).map(|()| self)
    }

    /// Sets an option that is an open file.
    pub fn fd(&self, key: &str, value: impl AsFd) -> Result<&Self> {
        fsconfig_set_fd(&self.0, key, value).map(|()| self)
    }

    /// Makes it, and a mount of it that is nowhere yet.
    pub fn mount(&self, attributes: MountAttrFlags) -> Result<OwnedFd> {
        fsconfig_create(&self.0)?;
        fsmount(&self.0, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
    }
}

/// Copies the mount at the host's path `path`, with `recursive` also those below it, to a tree that is nowhere yet.
/// The copy belongs to the same peer groups. Symbolic links are followed.
pub fn clone_path(path: impl Arg, recursive: bool) -> Result<OwnedFd> {
    open_tree(CWD, path, clone_flags(recursive))
}

/// Copies the mount at an open file or directory, as [`clone_path`].
pub fn clone_fd(place: impl AsFd, recursive: bool) -> Result<OwnedFd> {
    open_tree(place, c"", clone_flags(recursive) | OpenTreeFlags::AT_EMPTY_PATH)
}

fn clone_flags(recursive: bool) -> OpenTreeFlags {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive { flags | OpenTreeFlags::AT_RECURSIVE } else { flags }
}

/// Puts a mount that is nowhere yet on an open file or directory.
pub fn attach(mount: impl AsFd, place: impl AsFd) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, c"", place, c"", flags)
}
