//! The directory that a layer is unpacked to, reached by file descriptors only.

use std::{
    collections::{HashMap, VecDeque},
    io,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{self, AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Uid},
    io::Errno,
};

use super::attributes::make_opaque;

/// As many symbolic links are followed in one name as the kernel follows.
const MAX_LINKS: u32 = 40;
/// Directories that are kept open.
const RECENT: usize = 128;
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// A directory tree that is being filled.
///
/// Symbolic links in it are followed with its root as `/`, and nothing outside of it can be reached.
#[derive(Debug)]
pub(super) struct Tree {
    root: OwnedFd,
    /// Directories used lately: entries of one directory, or of a few, stand together in an archive.
    recent: HashMap<Vec<u8>, OwnedFd>,
    /// Directories that came into being because something is in them, by inode.
    implicit: HashMap<u64, Vec<u8>>,
    /// Bytes of their names.
    implicit_names: usize,
    /// The root's attributes were given by the archive.
    root_is_explicit: bool,
}

impl Tree {
    /// Fills the empty directory `root`, which must be one that nobody else changes meanwhile.
    pub(super) fn new(root: OwnedFd) -> Self {
        Self { root, recent: HashMap::new(), implicit: HashMap::new(), implicit_names: 0, root_is_explicit: false }
    }

    /// The root directory, whose attributes the archive gives.
    pub(super) fn root(&mut self) -> BorrowedFd<'_> {
        self.root_is_explicit = true;
        self.root.as_fd()
    }

    /// The directory with these components, made with its parents if it is missing.
    pub(super) fn directory(&mut self, components: &[&[u8]]) -> io::Result<BorrowedFd<'_>> {
        let path = components.join(&b'/');
        if !self.recent.contains_key(&path) {
            let found = match self.open_below(&path, OFlags::empty()) {
                Err(Errno::NOENT | Errno::NOTDIR) => self.make_directory(components)?,
                found => found?,
            };
            if self.recent.len() == RECENT {
                self.recent.clear();
            }
            self.recent.insert(path.clone(), found);
        }
        Ok(self.recent.get(&path).map_or(self.root.as_fd(), OwnedFd::as_fd))
    }

    /// The directory with these components if there is one.
    pub(super) fn existing_directory(&self, components: &[&[u8]]) -> io::Result<OwnedFd> {
        Ok(self.open_below(&components.join(&b'/'), OFlags::empty())?)
    }

    /// The directory with these components, itself not a symbolic link.
    pub(super) fn real_directory(&self, path: &[u8]) -> io::Result<OwnedFd> {
        Ok(self.open_below(path, OFlags::NOFOLLOW)?)
    }

    fn open_below(&self, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let path = if path.is_empty() { b"." } else { path };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        fs::openat2(&self.root, path, DIRECTORY | flags, Mode::empty(), resolve)
    }

    /// Goes down one component at a time and makes what is missing. A link whose target is missing (it may be in a
    /// layer below) gets its target; a whiteout becomes a directory that hides the layers below.
    fn make_directory(&mut self, components: &[&[u8]]) -> io::Result<OwnedFd> {
        let mut pending: VecDeque<Vec<u8>> = components.iter().map(|component| component.to_vec()).collect();
        let mut real: Vec<Vec<u8>> = Vec::new();
        let mut directory = self.root.try_clone()?;
        let mut links = 0;
        while let Some(name) = pending.pop_front() {
            if name == b".." {
                real.pop();
                directory = self.real_directory(&real.join(&b'/'))?;
                continue;
            }
            match fs::openat(&directory, name.as_slice(), DIRECTORY | OFlags::NOFOLLOW, Mode::empty()) {
                Ok(next) => directory = next,
                Err(Errno::NOENT) => directory = self.make_implicit(&directory, &real, &name)?,
                Err(Errno::NOTDIR | Errno::LOOP) => {
                    let found = fs::statat(&directory, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW)?;
                    if is_whiteout(&found) {
                        fs::unlinkat(&directory, name.as_slice(), AtFlags::empty())?;
                        directory = self.make_implicit(&directory, &real, &name)?;
                        make_opaque(&directory)?;
                    } else if FileType::from_raw_mode(found.st_mode) == FileType::Symlink {
                        links += 1;
                        if links > MAX_LINKS {
                            return Err(Errno::LOOP.into());
                        }
                        let target = fs::readlinkat(&directory, name.as_slice(), Vec::new())?.into_bytes();
                        if target.starts_with(b"/") {
                            real.clear();
                            directory = self.root.try_clone()?;
                        }
                        let parts = target.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
                        for part in parts.rev() {
                            pending.push_front(part.to_vec());
                        }
                        continue;
                    } else {
                        return Err(Errno::NOTDIR.into());
                    }
                }
                Err(errno) => return Err(errno.into()),
            }
            real.push(name);
        }
        Ok(directory)
    }

    fn make_implicit(&mut self, parent: &OwnedFd, real: &[Vec<u8>], name: &[u8]) -> io::Result<OwnedFd> {
        fs::mkdirat(parent, name, Mode::RWXU)?;
        let directory = fs::openat(parent, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
        fs::fchown(&directory, Some(Uid::ROOT), Some(Gid::ROOT))?;
        fs::fchmod(&directory, Mode::from_raw_mode(0o755))?;
        let path = [real, &[name.to_vec()]].concat().join(&b'/');
        self.implicit_names += path.len();
        self.implicit.insert(fs::fstat(&directory)?.st_ino, path);
        Ok(directory)
    }

    /// Notes that the archive gives this directory's attributes.
    pub(super) fn set_explicit(&mut self, inode: u64) {
        self.implicit.remove(&inode);
    }

    /// Bytes of the names of all directories that came into being because something was put into them.
    pub(super) fn implicit_names(&self) -> usize {
        self.implicit_names
    }

    /// Forgets the directories used lately, as something on the way to them was removed.
    pub(super) fn forget_recent(&mut self) {
        self.recent.clear();
    }

    /// Paths of directories, with the empty one for the root, whose attributes the archive did not give: those of the
    /// layers below shall be seen through them. In order.
    pub(super) fn implicit_directories(&self) -> Vec<Vec<u8>> {
        let is_still_there = |(inode, path): (&u64, &Vec<u8>)| {
            let found = self.real_directory(path).and_then(|directory| Ok(fs::fstat(directory)?));
            found.is_ok_and(|found| found.st_ino == *inode).then(|| path.clone())
        };
        let mut paths: Vec<Vec<u8>> = self.implicit.iter().filter_map(is_still_there).collect();
        if !self.root_is_explicit {
            paths.push(Vec::new());
        }
        paths.sort_unstable();
        paths
    }
}

/// Whether this is overlayfs' mark for a name that is hidden.
pub(in crate::image) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// Removes whatever has this name, with all that is in it.
pub(super) fn remove(parent: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    match fs::unlinkat(parent, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => std::fs::remove_dir_all(magic_path(parent, name)),
        done => Ok(done?),
    }
}

/// A path to `name` in an open directory, for the calls that take no directory descriptor; the name itself is not
/// followed by those that are used with it.
pub(super) fn magic_path(parent: BorrowedFd<'_>, name: &[u8]) -> std::path::PathBuf {
    use std::os::unix::ffi::OsStrExt as _;
    let directory = std::path::PathBuf::from(format!("/proc/self/fd/{}", parent.as_raw_fd()));
    directory.join(std::ffi::OsStr::from_bytes(name))
}
