//! Paths inside a root that is not to be trusted, `openat2(2)`.

use std::{
    ffi::OsStr,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, FileType, Mode, OFlags, ResolveFlags, mkdirat, mknodat, openat2, readlinkat},
    io::{Errno, Result},
};

/// Attempts when the kernel cannot tell whether a concurrent rename has led a path out of the root.
const ATTEMPTS: u32 = 128;

/// Links to follow by hand when a path is made; the kernel's own limit.
const MAX_LINKS: u32 = 40;

/// A directory that paths are resolved in as if it were `/`: no path, symbolic link or concurrent change of them leads
/// out of it.
#[derive(Debug)]
pub struct Root(OwnedFd);

/// What [`Root::make`] makes where nothing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// A directory, mode 0755.
    Directory,
    /// An empty file, mode 0644.
    File,
}

impl Root {
    /// Takes an open directory as a root.
    pub fn new(directory: OwnedFd) -> Self {
        Self(directory)
    }

    /// Takes the directory at `path` on the host as a root.
    pub fn open_host(path: impl AsRef<Path>) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat(CWD, path.as_ref(), flags, Mode::empty()).map(Self)
    }

    /// Opens `path`, following symbolic links inside the root but no magic ones.
    pub fn open(&self, path: impl AsRef<Path>, flags: OFlags) -> Result<OwnedFd> {
        self.resolve(path.as_ref(), flags, ResolveFlags::NO_MAGICLINKS)
    }

    /// Opens `path` without following any symbolic link.
    pub fn open_strict(&self, path: impl AsRef<Path>, flags: OFlags) -> Result<OwnedFd> {
        self.resolve(path.as_ref(), flags, ResolveFlags::NO_SYMLINKS)
    }

    /// Opens `path` as a place (`O_PATH`), after making it and the directories to it where they are missing. Dangling
    /// symbolic links are followed: what they point to is made, inside the root.
    pub fn make(&self, path: impl AsRef<Path>, missing: Missing) -> Result<OwnedFd> {
        self.make_following(path.as_ref(), missing, MAX_LINKS)
    }

    fn make_following(&self, path: &Path, missing: Missing, links: u32) -> Result<OwnedFd> {
        match self.open(path, OFlags::PATH) {
            Err(Errno::NOENT) => {}
            result => return result,
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err(Errno::NOENT) };
        let directory = self.make_following(parent, Missing::Directory, links)?;
        let made = match missing {
            Missing::Directory => mkdirat(&directory, name, Mode::from_raw_mode(0o755)),
            Missing::File => mknodat(&directory, name, FileType::RegularFile, Mode::from_raw_mode(0o644), 0),
        };
        match made {
            Ok(()) => {}
            Err(Errno::EXIST) => match readlinkat(&directory, name, Vec::new()) {
                Ok(target) if links > 0 => {
                    return self.make_following(&follow(parent, target.as_bytes()), missing, links - 1);
                }
                Ok(_) => return Err(Errno::LOOP),
                // Somebody else has made it in between.
                Err(Errno::INVAL) => {}
                Err(errno) => return Err(errno),
            },
            Err(errno) => return Err(errno),
        }
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        openat2(&directory, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)
    }

    fn resolve(&self, path: &Path, flags: OFlags, resolve: ResolveFlags) -> Result<OwnedFd> {
        // An absolute path is one inside; `.` stands for the root itself.
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let mut attempt = 0;
        loop {
            let result =
                openat2(&self.0, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve | ResolveFlags::IN_ROOT);
            match result {
                Err(Errno::AGAIN) if attempt < ATTEMPTS => attempt += 1,
                result => return result,
            }
        }
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Where a link with this target in the directory `parent` leads; both are paths inside the root.
fn follow(parent: &Path, target: &[u8]) -> PathBuf {
    // `join` drops `parent` for an absolute target, which is then one inside the root.
    parent.join(OsStr::from_bytes(target))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    fn root() -> (tempfile::TempDir, Root) {
        let outer = tempfile::tempdir().expect("directory");
        fs::create_dir(outer.path().join("root")).expect("directory");
        let root = Root::open_host(outer.path().join("root")).expect("root");
        (outer, root)
    }

    #[test]
    fn links_and_steps_back_stay_inside() {
        let (outer, root) = root();
        fs::write(outer.path().join("secret"), "host").expect("write");
        let inside = outer.path().join("root");
        symlink("/secret", inside.join("absolute")).expect("link");
        symlink("../../../secret", inside.join("relative")).expect("link");
        for path in ["absolute", "relative", "/../secret", "../../secret"] {
            assert_eq!(root.open(path, OFlags::RDONLY).expect_err(path), Errno::NOENT);
        }
        fs::write(inside.join("secret"), "inside").expect("write");
        for path in ["absolute", "relative", "/../secret"] {
            let mut text = String::new();
            let file = root.open(path, OFlags::RDONLY).expect(path);
            std::io::Read::read_to_string(&mut fs::File::from(file), &mut text).expect("read");
            assert_eq!(text, "inside", "{path}");
        }
        assert_eq!(root.open_strict("absolute", OFlags::PATH).expect_err("a link"), Errno::LOOP);
    }

    #[test]
    fn missing_places_are_made_also_behind_dangling_links() {
        let (outer, root) = root();
        let inside = outer.path().join("root");
        root.make("/a/b/c", Missing::Directory).expect("made");
        assert!(inside.join("a/b/c").is_dir());
        fs::create_dir(inside.join("etc")).expect("directory");
        symlink("../run/resolve/stub.conf", inside.join("etc/resolv.conf")).expect("link");
        root.make("/etc/resolv.conf", Missing::File).expect("made");
        assert!(inside.join("run/resolve/stub.conf").is_file());
        symlink("/../../../out", inside.join("escape")).expect("link");
        root.make("/escape/x", Missing::File).expect("made");
        assert!(inside.join("out/x").is_file());
        assert!(!outer.path().join("out").exists());
    }

    #[test]
    fn link_rings_end() {
        let (outer, root) = root();
        symlink("two", outer.path().join("root/one")).expect("link");
        symlink("one", outer.path().join("root/two")).expect("link");
        assert_eq!(root.make("one", Missing::File).expect_err("a ring"), Errno::LOOP);
        symlink("self/x", outer.path().join("root/self")).expect("link");
        assert!(root.make("self", Missing::Directory).is_err());
    }
}
