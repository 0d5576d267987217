//! Directories as archives: a container's changes in the form of a layer, or any other tree, and back.
//!
//! In an archive, what overlayfs hides is told as image layers do: by names that begin with `.wh.`.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::{self, BufWriter, Read, Write},
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::fs::FileExt as _,
    },
    path::Path,
};

use rustix::{
    fs::{self, AtFlags, CWD, Dir, FileType, Mode, OFlags, SeekFrom, Stat},
    io::Errno,
};

use super::{
    Error,
    durable::write_file_with,
    tar::{self, Header, Kind, Segment, Time, Writer},
    unpack::{self, Attributes, Limits, is_opaque, is_whiteout, shown},
};

/// Bytes that are copied at once.
const PIECE: usize = 256 << 10;
const OPEN: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);
/// How deep directories may be in each other; each level is an open descriptor.
const MAX_DEPTH: usize = 512;

/// Writes all that is in a directory as an archive. Sockets are left out, as in any archive. Blocking.
///
/// # Errors
/// Files that cannot be read, or that change their length meanwhile; what the sink says.
pub fn pack(directory: &Path, sink: impl Write) -> Result<(), Error> {
    let failed = |source: Errno| Error::file("open directory", directory, source.into());
    let root = fs::openat(CWD, directory, OPEN | OFlags::DIRECTORY, Mode::empty()).map_err(failed)?;
    let mut packer = Packer { archive: Writer::new(sink), names: HashMap::new(), piece: vec![0; PIECE] };
    packer.children(root, b"", 0).map_err(|error| error.into_error(directory))?;
    packer.archive.finish()?.flush().map_err(|source| Error::file("archive", directory, source))
}

/// Writes a directory as an archive into a file, for nobody but its owner to read; a file that is there is replaced when
/// all has gone well. Blocking.
///
/// # Errors
/// As [`pack`].
pub fn pack_into_file(directory: &Path, file: &Path) -> Result<(), Error> {
    write_file_with(file, 0o600, |file| pack(directory, BufWriter::new(file)))
}

/// Makes what an archive has in an empty directory; nothing outside of it is touched, whatever the archive says.
/// Blocking.
///
/// # Errors
/// Broken archives and those that are larger than a layer may be.
pub fn extract(archive: impl Read + Send, directory: &Path) -> Result<(), Error> {
    let failed = |source: Errno| Error::file("open directory", directory, source.into());
    let root = fs::openat(CWD, directory, OPEN | OFlags::DIRECTORY, Mode::empty()).map_err(failed)?;
    unpack::unpack(archive, "", None, root, Limits::default())
        .map(drop)
        .map_err(|source| Error::Layer { digest: None, source })
}

/// What went wrong at a path in the directory.
enum Failure {
    File { path: Vec<u8>, source: io::Error },
    Archive(tar::Error),
}

impl Failure {
    fn into_error(self, directory: &Path) -> Error {
        match self {
            Self::File { path, source } => Error::file("archive", &directory.join(shown(&path)), source),
            Self::Archive(error) => error.into(),
        }
    }
}

impl From<tar::Error> for Failure {
    fn from(error: tar::Error) -> Self {
        Self::Archive(error)
    }
}

/// Says at which path an operation failed.
trait At<T> {
    fn at(self, path: &[u8]) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, path: &[u8]) -> Result<T, Failure> {
        self.map_err(|source| Failure::File { path: path.to_vec(), source: source.into() })
    }
}

struct Packer<W> {
    archive: Writer<W>,
    /// The first names of files that have more than one, by device and inode.
    names: HashMap<(u64, u64), Vec<u8>>,
    piece: Vec<u8>,
}

impl<W: Write> Packer<W> {
    fn children(&mut self, directory: OwnedFd, path: &[u8], depth: usize) -> Result<(), Failure> {
        if depth > MAX_DEPTH {
            return Err(Failure::File { path: path.to_vec(), source: Errno::NAMETOOLONG.into() });
        }
        if is_opaque(&directory) {
            self.append(&Header::new(joined(path, b".wh..wh..opq"), Kind::File))?;
        }
        // In the order of their names: equal directories give equal archives.
        let mut names = Vec::new();
        for entry in Dir::read_from(&directory).at(path)? {
            let name = entry.at(path)?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(name);
            }
        }
        names.sort_unstable();
        names.into_iter().try_for_each(|name| self.entry(directory.as_fd(), path, &name, depth))
    }

    fn entry(&mut self, parent: BorrowedFd<'_>, within: &[u8], name: &[u8], depth: usize) -> Result<(), Failure> {
        let path = joined(within, name);
        let found = fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).at(&path)?;
        if is_whiteout(&found) {
            let hidden = [b".wh.".as_slice(), name].concat();
            return self.append(&Header::new(joined(within, &hidden), Kind::File));
        }
        match FileType::from_raw_mode(found.st_mode) {
            FileType::Directory => {
                let directory = fs::openat(parent, name, OPEN | OFlags::DIRECTORY, Mode::empty()).at(&path)?;
                let attributes = Attributes::of(directory.as_fd()).at(&path)?;
                let header = Header { path: [&path, b"/".as_slice()].concat(), ..header(Kind::Directory, &found) };
                self.append(&Header { xattrs: attributes.into_xattrs(), ..header })?;
                self.children(directory, &path, depth + 1)
            }
            FileType::RegularFile => self.file(parent, name, path, &found),
            FileType::Symlink => {
                let link = fs::readlinkat(parent, name, Vec::new()).at(&path)?.into_bytes();
                self.append(&Header { link, path, ..header(Kind::SymbolicLink, &found) })
            }
            FileType::CharacterDevice => self.append(&Header { path, ..header(Kind::CharDevice, &found) }),
            FileType::BlockDevice => self.append(&Header { path, ..header(Kind::BlockDevice, &found) }),
            FileType::Fifo => self.append(&Header { path, ..header(Kind::Fifo, &found) }),
            FileType::Socket | FileType::Unknown => Ok(()),
        }
    }

    fn file(&mut self, parent: BorrowedFd<'_>, name: &[u8], path: Vec<u8>, found: &Stat) -> Result<(), Failure> {
        if found.st_nlink > 1 {
            let key = (found.st_dev, found.st_ino);
            if let Some(first) = self.names.get(&key) {
                return self.append(&Header { link: first.clone(), path, ..header(Kind::HardLink, found) });
            }
            self.names.insert(key, path.clone());
        }
        let file = File::from(fs::openat(parent, name, OPEN, Mode::empty()).at(&path)?);
        let size = u64::try_from(found.st_size).unwrap_or_default();
        let segments = segments(&file, size).at(&path)?;
        let whole = [Segment { offset: 0, length: size }];
        let header = Header {
            size,
            xattrs: Attributes::of(file.as_fd()).at(&path)?.into_xattrs(),
            sparse: (segments != whole && size > 0).then(|| segments.clone()),
            path,
            ..header(Kind::File, found)
        };
        self.archive.start(&header)?;
        for Segment { mut offset, length } in segments {
            let end = offset + length;
            while offset < end {
                let most = usize::try_from(end - offset).unwrap_or(PIECE).min(PIECE);
                file.read_exact_at(&mut self.piece[..most], offset).at(&header.path)?;
                self.archive.data(&header, &self.piece[..most])?;
                offset += most as u64;
            }
        }
        Ok(())
    }

    fn append(&mut self, header: &Header) -> Result<(), Failure> {
        Ok(self.archive.append(header, b"")?)
    }
}

fn joined(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() { name.to_vec() } else { [directory, b"/", name].concat() }
}

/// What `stat(2)` tells of an entry; without its path, size and extended attributes.
fn header(kind: Kind, found: &Stat) -> Header {
    Header {
        mode: found.st_mode & 0o7777,
        uid: found.st_uid,
        gid: found.st_gid,
        mtime: Time { seconds: found.st_mtime, nanos: u32::try_from(found.st_mtime_nsec).unwrap_or_default() },
        device: (fs::major(found.st_rdev), fs::minor(found.st_rdev)),
        xattrs: BTreeMap::new(),
        ..Header::new("", kind)
    }
}

/// Where a file has data, `lseek(2)`.
fn segments(file: &File, size: u64) -> io::Result<Vec<Segment>> {
    let mut segments = Vec::new();
    let mut at = 0;
    while at < size {
        let start = match fs::seek(file, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => break,
            Err(errno) => return Err(errno.into()),
        };
        let end = fs::seek(file, SeekFrom::Hole(start))?.min(size);
        if start >= end {
            break;
        }
        segments.push(Segment { offset: start, length: end - start });
        at = end;
    }
    Ok(segments)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};

    use rustix::fs::XattrFlags;

    use super::*;

    #[test]
    fn a_directory_comes_back_as_it_was() {
        let from = tempfile::tempdir().expect("directory");
        let path = |name: &str| from.path().join(name);
        std::fs::create_dir_all(path("deep/er")).expect("directories");
        std::fs::set_permissions(path("deep"), std::fs::Permissions::from_mode(0o1777)).expect("mode");
        std::fs::write(path("deep/er/file"), vec![7; PIECE + 1]).expect("file");
        std::fs::hard_link(path("deep/er/file"), path("second name")).expect("hard link");
        symlink("/nowhere", path("link")).expect("symbolic link");
        let sparse = File::create(path("sparse")).expect("file");
        sparse.write_all_at(b"middle", 1 << 20).expect("write");
        sparse.set_len(64 << 20).expect("length");
        let node = |name, kind, device| fs::mknodat(CWD, path(name), kind, Mode::from_raw_mode(0o640), device);
        node("device", FileType::CharacterDevice, fs::makedev(1, 3)).expect("device");
        node("pipe", FileType::Fifo, 0).expect("pipe");
        node("gone", FileType::CharacterDevice, 0).expect("whiteout");
        fs::setxattr(path("deep/er"), "trusted.overlay.opaque", b"y", XattrFlags::empty()).expect("opaque");
        fs::setxattr(path("deep/er/file"), "trusted.berth", b"\n=\0", XattrFlags::empty()).expect("attribute");

        let mut archive = Vec::new();
        pack(from.path(), &mut archive).expect("pack");
        assert!(archive.len() < 1 << 20, "holes are not stored");
        let mut again = Vec::new();
        pack(from.path(), &mut again).expect("pack");
        assert!(archive == again, "equal directories give equal archives");

        let to = tempfile::tempdir().expect("directory");
        extract(archive.as_slice(), to.path()).expect("extract");
        let path = |name: &str| to.path().join(name);
        let stat = |name: &str| std::fs::symlink_metadata(path(name)).expect("stat");
        assert_eq!(std::fs::read(path("deep/er/file")).expect("read"), vec![7; PIECE + 1]);
        assert_eq!((stat("deep").mode() & 0o7777, stat("second name").nlink()), (0o1777, 2));
        assert_eq!(std::fs::read_link(path("link")).expect("link"), Path::new("/nowhere"));
        let content = std::fs::read(path("sparse")).expect("read");
        assert_eq!((content.len(), &content[1 << 20..][..6]), (64 << 20, b"middle".as_slice()));
        assert!(stat("sparse").blocks() * 512 < 1 << 20, "holes are holes again");
        assert_eq!((stat("device").rdev(), stat("gone").rdev()), (fs::makedev(1, 3), 0));
        assert!(stat("pipe").file_type().is_fifo() && stat("gone").file_type().is_char_device());
        assert!(is_opaque(File::open(path("deep/er")).expect("open")));
        let mut value = [0; 3];
        fs::getxattr(path("deep/er/file"), "trusted.berth", &mut value).expect("attribute");
        assert_eq!(&value, b"\n=\0");
    }
}
