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

/// As much as one read gives at most, but for the largest files.
const PAGE: usize = 4_096;
/// Longest part of an unexpected file content that an error repeats.
const QUOTED: usize = 80;

/// Reads a whole file.
pub(super) fn read(path: &Path) -> Result<String, Error> {
    read_text(path).map_err(|source| Error::Read { path: path.to_owned(), source })
}

/// Reads a whole file; `None` where the kernel or the hierarchy has no such file, or does not tell (PSI switched off).
pub(super) fn read_if_present(path: &Path) -> Result<Option<String>, Error> {
    match read_text(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EOPNOTSUPP)) => Ok(None),
        Err(source) => Err(Error::Read { path: path.to_owned(), source }),
    }
}

/// `fs::read_to_string` without asking for a size first, which these file systems do not tell: a list of statistics is
/// many such reads.
fn read_text(path: &Path) -> io::Result<String> {
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut bytes = Vec::with_capacity(PAGE);
    // A file of many records (`cgroup.procs`) comes in pieces of a page.
    while rustix::io::read(&file, spare_capacity(&mut bytes))? > 0 {
        bytes.reserve(PAGE);
    }
    String::from_utf8(bytes).map_err(io::Error::other)
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
