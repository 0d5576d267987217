//! Reading and writing the small text files of cgroup file systems, with the path in every error.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    path::Path,
};

use rustix::{
    buffer::spare_capacity,
    fs::{Mode, OFlags},
};

use super::Error;

/// More than nearly all of these files hold.
const PAGE: usize = 4_096;
/// Longest part of an unexpected file content that an error repeats.
const QUOTED: usize = 80;

/// How a file is shown by the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// In one piece, whatever it holds: all files of values and statistics.
    AtOnce,
    /// Record by record, a page at most with each read: processes, mounts.
    ByRecord,
}

/// Reads a whole file that is shown at once.
pub(super) fn read(path: &Path) -> Result<String, Error> {
    read_as(Shown::AtOnce, path)
}

/// Reads a whole file.
pub(super) fn read_as(shown: Shown, path: &Path) -> Result<String, Error> {
    read_text(shown, path).map_err(|source| Error::Read { path: path.to_owned(), source })
}

/// Reads a whole file that is shown at once; `None` where the kernel or the hierarchy has no such file, or does not tell
/// (PSI switched off).
pub(super) fn read_if_present(path: &Path) -> Result<Option<String>, Error> {
    present(read_as(Shown::AtOnce, path))
}

/// Makes the error of a missing file, or of one that the kernel does not fill, a `None`.
pub(super) fn present(text: Result<String, Error>) -> Result<Option<String>, Error> {
    match text {
        Ok(text) => Ok(Some(text)),
        Err(Error::Read { source, .. }) if matches!(source.raw_os_error(), Some(libc::ENOENT | libc::EOPNOTSUPP)) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// `fs::read_to_string` without the system calls that ask for a size, which these file systems do not tell, and for the
/// end: a list of statistics is thousands of such reads.
fn read_text(shown: Shown, path: &Path) -> io::Result<String> {
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut bytes = Vec::with_capacity(PAGE);
    loop {
        let read = rustix::io::read(&file, spare_capacity(&mut bytes))?;
        let has_room = bytes.len() < bytes.capacity();
        if read == 0 || (shown == Shown::AtOnce && has_room) {
            return String::from_utf8(bytes).map_err(io::Error::other);
        }
        bytes.reserve(PAGE);
    }
}

/// Writes `value` in one `write(2)`, as these files need it. Never creates the file.
pub(super) fn write(path: &Path, value: &str) -> Result<(), Error> {
    OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| file.write_all(value.as_bytes()))
        .map_err(|source| Error::Write { path: path.to_owned(), value: value.to_owned(), source })
}

/// Reads a file that holds one number.
pub(super) fn number(path: &Path) -> Result<u64, Error> {
    let text = read(path)?;
    text.trim().parse().map_err(|_| malformed(path, &text))
}

/// Reads a file that holds one number or `max`, which is `None`; also `None` without such a file.
pub(super) fn bound(path: &Path) -> Result<Option<u64>, Error> {
    match read_if_present(path)? {
        None => Ok(None),
        Some(text) if text.trim() == "max" => Ok(None),
        Some(text) => text.trim().parse().map(Some).map_err(|_| malformed(path, &text)),
    }
}

/// The number after `key` in a text of `key number` lines.
pub(super) fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// The keys and numbers of a text of `key number` lines.
pub(super) fn pairs(text: &str) -> impl Iterator<Item = (&str, u64)> {
    text.lines().filter_map(|line| {
        let (key, value) = line.split_once(' ')?;
        Some((key, value.trim().parse().ok()?))
    })
}

/// The error for a file that does not hold what it should.
pub(super) fn malformed(path: &Path, content: &str) -> Error {
    Error::Malformed { path: path.to_owned(), content: content.chars().take(QUOTED).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_matched_whole() {
        let text = "total_rss 7\nrss 3\nrss_huge 5\n";
        assert_eq!(keyed(text, "rss"), Some(3));
        assert_eq!(keyed(text, "huge"), None);
    }

    #[test]
    fn a_file_that_is_longer_than_the_buffer_is_read_whole() {
        let dir = tempfile::tempdir().expect("temporary directory");
        for length in [0, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE] {
            let path = dir.path().join("io.stat");
            std::fs::write(&path, "x".repeat(length)).expect("file");
            for shown in [Shown::AtOnce, Shown::ByRecord] {
                assert_eq!(read_as(shown, &path).expect("text").len(), length, "{shown:?}");
            }
        }
        // The kernel gives the mounts of a host piece by piece.
        let mounts = read_as(Shown::ByRecord, Path::new("/proc/self/mountinfo")).expect("mounts");
        assert_eq!(mounts, std::fs::read_to_string("/proc/self/mountinfo").expect("mounts"));
    }

    #[test]
    fn pairs_leave_out_what_is_no_number() {
        let pairs: Vec<_> = pairs("rss 3\nnonsense\nname text\ncache 5\n").collect();
        assert_eq!(pairs, [("rss", 3), ("cache", 5)]);
    }

    #[test]
    fn a_missing_file_is_not_created_by_a_write() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("memory.max");
        assert!(
            matches!(write(&path, "1"), Err(Error::Write { source, .. }) if source.kind() == io::ErrorKind::NotFound)
        );
        assert!(!path.exists());
    }

    #[test]
    fn no_limit_is_told_from_a_number() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("pids.max");
        assert_eq!(bound(&path).expect("missing"), None);
        for (content, value) in [("max\n", None), ("12\n", Some(12))] {
            std::fs::write(&path, content).expect("file");
            assert_eq!(bound(&path).expect(content), value);
        }
        std::fs::write(&path, "lots\n").expect("file");
        assert!(matches!(bound(&path), Err(Error::Malformed { .. })));
    }
}
