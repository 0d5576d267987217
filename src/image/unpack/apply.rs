//! An archive's entries made into files.

use std::{
    fs::File,
    io::{self, BufRead, Write as _},
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::fs::FileExt as _,
    },
};

use rustix::{
    fs::{self, AtFlags, FileType, Mode, OFlags},
    io::Errno,
};

use super::{
    Error, Tally,
    attributes::{Attributes, make_opaque, set_time},
    entry_path::{EntryPath, Purpose},
    error::shown,
    fill::{self, Filler},
    tree::{self, Tree},
};
use crate::image::tar::{Header, Kind, Reader, Time};

mod hard_link;

/// How large a layer may become.
#[derive(Debug, Clone, Copy)]
pub(in crate::image) struct Limits {
    /// Number of archive entries.
    pub(in crate::image) entries: u64,
    /// Bytes of file content, without holes.
    pub(in crate::image) bytes: u64,
    /// Bytes of the names of directories, which are held in memory.
    pub(in crate::image) names: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { entries: 4_000_000, bytes: 256 << 30, names: 64 << 20 }
    }
}

/// What each inode takes at least, by the block size of the usual file systems.
pub(super) const PAGE: u64 = 4096;

/// Applies archives to an empty directory.
struct Applier {
    tree: Tree,
    filler: Filler,
    limits: Limits,
    tally: Tally,
    entries: u64,
    content: u64,
    /// Directories whose times are set when nothing more is put into them.
    times: Vec<(Vec<u8>, Time)>,
    /// Bytes of their names.
    times_names: usize,
}

/// Makes all entries of an archive in the empty directory `root`, and reads the archive's source to its end.
pub(super) fn apply<R: BufRead>(archive: &mut Reader<R>, root: OwnedFd, limits: Limits) -> Result<Tally, Error> {
    let mut applier = Applier {
        tree: Tree::new(root),
        filler: Filler::default(),
        limits,
        tally: Tally { bytes: PAGE, inodes: 1, ..Tally::default() },
        entries: 0,
        content: 0,
        times: Vec::new(),
        times_names: 0,
    };
    while let Some(header) = archive.next_entry()? {
        applier.entry(&header, archive)?;
    }
    archive.drain()?;
    applier.finish()
}

impl Applier {
    fn entry<R: BufRead>(&mut self, header: &Header, archive: &mut Reader<R>) -> Result<(), Error> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(Error::Limit { what: "entries", limit: self.limits.entries });
        }
        if self.times_names + self.tree.implicit_names() > self.limits.names {
            return Err(Error::Limit { what: "bytes of directory names", limit: self.limits.names as u64 });
        }
        let path = EntryPath::parse(&header.path)?;
        let failed = |operation: &'static str| {
            move |source: io::Error| Error::File { operation, path: shown(&header.path), source }
        };
        match path.purpose()? {
            Purpose::Ignored => Ok(()),
            Purpose::Root => self.root(header).map_err(failed("set attributes of the root")),
            Purpose::Whiteout { parent, name } => self.whiteout(parent, name).map_err(failed("make whiteout")),
            Purpose::Opaque { directory } => self.opaque(directory).map_err(failed("make opaque directory")),
            Purpose::Content { parent, name } => match header.kind {
                Kind::File => self.file(parent, name, header, archive),
                Kind::Directory => self.directory(&path, parent, name, header).map_err(failed("make directory")),
                Kind::HardLink => self.hard_link(parent, name, header),
                Kind::SymbolicLink => self.symbolic_link(parent, name, header).map_err(failed("make symbolic link")),
                Kind::CharDevice | Kind::BlockDevice | Kind::Fifo => {
                    self.special(parent, name, header).map_err(failed("make special file"))
                }
                Kind::Other(flag) => Err(Error::Type { path: shown(&header.path), flag: char::from(flag) }),
            },
        }
    }

    fn root(&mut self, header: &Header) -> io::Result<()> {
        if header.kind != Kind::Directory {
            return Err(Errno::NOTDIR.into());
        }
        Attributes::given(header).set(self.tree.root())?;
        self.times.push((Vec::new(), header.mtime));
        Ok(())
    }

    fn file<R: BufRead>(
        &mut self,
        parent: &[&[u8]],
        name: &[u8],
        header: &Header,
        archive: &mut Reader<R>,
    ) -> Result<(), Error> {
        let failed = |operation: &'static str| {
            move |source: io::Error| Error::File { operation, path: shown(&header.path), source }
        };
        let file = self.create(parent, name).map_err(failed("create"))?;
        if header.sparse.is_none() && header.size <= fill::LARGEST {
            return self.small_file(file, header, archive);
        }
        match &header.sparse {
            None => {
                self.copy(archive, u64::MAX, |part| (&file).write_all(part).map_err(failed("write")))?;
            }
            Some(segments) => {
                for segment in segments {
                    let mut offset = segment.offset;
                    self.copy(archive, segment.length, |part| {
                        file.write_all_at(part, offset).map_err(failed("write"))?;
                        offset += part.len() as u64;
                        Ok(())
                    })?;
                }
                file.set_len(header.size).map_err(failed("set length of"))?;
            }
        }
        Attributes::given(header).set(file.as_fd()).map_err(failed("set attributes of"))
    }

    /// Leaves the content of a file, and its attributes, to the filler.
    fn small_file<R: BufRead>(&mut self, file: File, header: &Header, archive: &mut Reader<R>) -> Result<(), Error> {
        let mut filler = std::mem::take(&mut self.filler);
        let added = filler.add(file, &header.path, Attributes::given(header), |content| {
            self.copy(archive, u64::MAX, |part| {
                content.extend_from_slice(part);
                Ok(())
            })
        });
        self.filler = filler;
        added
    }

    /// Hands up to `length` bytes of the current entry on, counting them.
    fn copy<R: BufRead>(
        &mut self,
        archive: &mut Reader<R>,
        mut length: u64,
        mut write: impl FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut copied = 0;
        while length > 0 {
            let part = archive.fill_entry()?;
            let part = &part[..part.len().min(usize::try_from(length).unwrap_or(usize::MAX))];
            if part.is_empty() {
                break;
            }
            let step = part.len();
            self.content += step as u64;
            if self.content > self.limits.bytes {
                return Err(Error::Limit { what: "bytes", limit: self.limits.bytes });
            }
            write(part)?;
            archive.consume_entry(step);
            copied += step as u64;
            length -= step as u64;
        }
        self.tally.bytes += copied.next_multiple_of(PAGE);
        Ok(())
    }

    /// Creates a file, in the place of whatever has its name.
    fn create(&mut self, parent: &[&[u8]], name: &[u8]) -> io::Result<File> {
        let file = self.place(parent, name, |directory| {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            fs::openat(directory, name, flags, Mode::RUSR | Mode::WUSR)
        })?;
        self.tally.inodes += 1;
        Ok(File::from(file))
    }

    fn directory(&mut self, path: &EntryPath<'_>, parent: &[&[u8]], name: &[u8], header: &Header) -> io::Result<()> {
        let directory = self.tree.directory(parent)?;
        let (mut replaced, mut hides) = (false, false);
        loop {
            match fs::mkdirat(directory, name, Mode::RWXU) {
                Ok(()) => {
                    self.tally.inodes += 1;
                    self.tally.bytes += PAGE;
                    break;
                }
                Err(Errno::EXIST) => {
                    let found = fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
                    if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
                        break;
                    }
                    (replaced, hides) = (true, tree::is_whiteout(&found));
                    tree::remove(directory, name)?;
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = fs::openat(directory, name, flags, Mode::empty())?;
        Attributes::given(header).set(made.as_fd())?;
        if hides {
            make_opaque(&made)?;
        }
        self.tree.set_explicit(fs::fstat(&made)?.st_ino);
        if replaced {
            self.tree.forget_recent();
        }
        let path = path.components().join(&b'/');
        self.times_names += path.len();
        self.times.push((path, header.mtime));
        Ok(())
    }

    fn symbolic_link(&mut self, parent: &[&[u8]], name: &[u8], header: &Header) -> io::Result<()> {
        self.place(parent, name, |directory| fs::symlinkat(header.link.as_slice(), directory, name))?;
        self.tally.inodes += 1;
        Attributes::given(header).set_at(self.tree.directory(parent)?, name, header.kind)
    }

    fn special(&mut self, parent: &[&[u8]], name: &[u8], header: &Header) -> io::Result<()> {
        let (major, minor) = header.device;
        let (kind, device) = match header.kind {
            Kind::CharDevice => (FileType::CharacterDevice, fs::makedev(major, minor)),
            Kind::BlockDevice => (FileType::BlockDevice, fs::makedev(major, minor)),
            _ => (FileType::Fifo, 0),
        };
        self.place(parent, name, |directory| fs::mknodat(directory, name, kind, Mode::RUSR, device))?;
        self.tally.inodes += 1;
        Attributes::given(header).set_at(self.tree.directory(parent)?, name, header.kind)
    }

    /// Hides a name of the layers below. What this layer itself has under that name stays.
    fn whiteout(&mut self, parent: &[&[u8]], name: &[u8]) -> io::Result<()> {
        let directory = self.tree.directory(parent)?;
        match fs::mknodat(directory, name, FileType::CharacterDevice, Mode::empty(), fs::makedev(0, 0)) {
            Ok(()) => self.tally.inodes += 1,
            Err(Errno::EXIST) => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                match fs::openat(directory, name, flags, Mode::empty()) {
                    Ok(found) => make_opaque(found)?,
                    Err(Errno::NOTDIR | Errno::LOOP) => {}
                    Err(errno) => return Err(errno.into()),
                }
            }
            Err(errno) => return Err(errno.into()),
        }
        Ok(())
    }

    fn opaque(&mut self, components: &[&[u8]]) -> io::Result<()> {
        // Overlayfs does not look for the mark on the root.
        self.tally.opaque |= components.is_empty();
        make_opaque(self.tree.directory(components)?)
    }

    /// Makes something new with `make`, after removing what has its name if that is in the way.
    fn place<T>(
        &mut self,
        parent: &[&[u8]],
        name: &[u8],
        make: impl Fn(BorrowedFd<'_>) -> rustix::io::Result<T>,
    ) -> io::Result<T> {
        let directory = self.tree.directory(parent)?;
        match make(directory) {
            Err(Errno::EXIST) => {
                tree::remove(directory, name)?;
                let made = make(directory);
                self.tree.forget_recent();
                Ok(made?)
            }
            made => Ok(made?),
        }
    }

    fn finish(mut self) -> Result<Tally, Error> {
        std::mem::take(&mut self.filler).finish()?;
        // What came later under the same name has taken its place.
        let links = std::mem::take(&mut self.tally.links);
        self.tally.links = links.into_iter().filter(|link| !self.has(&link.path)).collect();
        // A later entry of the same directory wins, and one that was removed since is passed over.
        for (path, time) in &self.times {
            if let Ok(directory) = self.tree.real_directory(path) {
                set_time(directory, *time).map_err(|source| Error::File {
                    operation: "set time of",
                    path: shown(path),
                    source,
                })?;
            }
        }
        self.tally.implicit = self.tree.implicit_directories();
        self.tally.inodes += self.tally.implicit.iter().filter(|path| !path.is_empty()).count() as u64;
        Ok(self.tally)
    }
}
