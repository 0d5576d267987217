//! A container's log file, in the format of the CRI:
//!
//! ```text
//! 2026-01-02T03:04:05.000000006Z stdout F a line
//! 2026-01-02T03:04:05.000000007Z stderr P the first 16 KiB of a long line, or the end of an output without newline
//! ```
//! Nothing is ever dropped: what the file does not take (a full disk) is kept, the reading of the container's output
//! stops, so that the container waits, and the write is tried again.

mod line;

use std::{
    fs::File,
    io::{self, IoSlice, Write},
    mem,
    os::fd::AsFd,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::fs::{FileType, Mode, OFlags};

use crate::types::Timestamp;

/// Parts of lines that are written at once; the kernel takes up to 1,024.
const BATCH: usize = 256;
/// Parts of one line: what comes before it, its content in two parts, its end.
const PARTS: usize = 4;
/// Pause before a failed write is tried again.
const RETRY: Duration = Duration::from_millis(250);

/// Which output a line comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

/// A log file that is written.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    file: File,
    /// The file to go on in when `pending` has been written: a line must not be torn between two files.
    next: Option<File>,
    /// Rest of a batch that the file did not take; it may begin within a line.
    pending: Vec<u8>,
    retry_at: Option<Instant>,
}

/// What is known of an output's last line, which has not ended yet; at most 16 KiB.
#[derive(Debug, Default)]
pub(super) struct Unfinished(Vec<u8>);

/// How lines of one moment begin.
struct Prefix {
    full: String,
    partial: String,
}

impl Stream {
    const fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

impl Prefix {
    fn new(stream: Stream, at: Timestamp) -> Self {
        let stream = stream.name();
        Self { full: format!("{at} {stream} F "), partial: format!("{at} {stream} P ") }
    }

    fn of(&self, piece: &line::Piece<'_>) -> &[u8] {
        if piece.full { self.full.as_bytes() } else { self.partial.as_bytes() }
    }
}

impl Log {
    /// Opens the log at `path`, to be appended to.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = open(path)?;
        Ok(Self { path: path.to_owned(), file, next: None, pending: Vec::new(), retry_at: None })
    }

    /// Goes on in a new file at the same path, which exists afterwards. On an error the old file is kept.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        let file = open(&self.path)?;
        if self.pending.is_empty() {
            self.file = file;
        } else {
            self.next = Some(file);
        }
        Ok(())
    }

    /// Writes the lines that end in `chunk`, which was read `at` that time; the rest becomes `unfinished`.
    ///
    /// Returns how many bytes of `chunk` were taken. It is fewer than all when the file refused; then the log is
    /// [`Log::is_blocked`], and the rest of the chunk has to be offered again when it no longer is.
    pub(super) fn append(&mut self, stream: Stream, unfinished: &mut Unfinished, chunk: &[u8], at: Timestamp) -> usize {
        let prefix = Prefix::new(stream, at);
        let mut taken = 0;
        while !self.is_blocked() {
            let head = mem::take(&mut unfinished.0);
            let mut parts = [IoSlice::new(&[]); BATCH];
            let mut count = 0;
            let mut used = taken;
            let mut rest_of_line = &head[..];
            while count + PARTS <= BATCH
                && let Some((piece, length)) = line::next(rest_of_line, &chunk[used..])
            {
                for part in [prefix.of(&piece), piece.head, piece.tail, b"\n"] {
                    if !part.is_empty() {
                        parts[count] = IoSlice::new(part);
                        count += 1;
                    }
                }
                rest_of_line = &[];
                used += length;
            }
            if count == 0 {
                unfinished.0 = head;
                unfinished.0.extend_from_slice(&chunk[taken..]);
                return chunk.len();
            }
            self.write(&mut parts[..count]);
            taken = used;
        }
        taken
    }

    /// Writes what is left of an output that has ended without a newline.
    pub(super) fn finish(&mut self, stream: Stream, unfinished: &mut Unfinished, at: Timestamp) {
        if self.is_blocked() || unfinished.0.is_empty() {
            return;
        }
        let content = mem::take(&mut unfinished.0);
        let prefix = Prefix::new(stream, at);
        self.write(&mut [IoSlice::new(prefix.partial.as_bytes()), IoSlice::new(&content), IoSlice::new(b"\n")]);
    }

    /// Whether the file has not taken all that it was given.
    pub(super) fn is_blocked(&self) -> bool {
        !self.pending.is_empty()
    }

    /// When [`Log::retry`] should be called.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Tries to write what is pending.
    pub(super) fn retry(&mut self) {
        let pending = mem::take(&mut self.pending);
        self.write(&mut [IoSlice::new(&pending)]);
        if !self.is_blocked()
            && let Some(next) = self.next.take()
        {
            self.file = next;
        }
    }

    /// Writes `parts`; what the file does not take becomes pending.
    fn write(&mut self, mut parts: &mut [IoSlice<'_>]) {
        self.retry_at = None;
        while !parts.is_empty() {
            match self.file.write_vectored(parts) {
                Ok(written) if written > 0 => IoSlice::advance_slices(&mut parts, written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => {
                    for part in &*parts {
                        self.pending.extend_from_slice(part);
                    }
                    self.retry_at = Some(Instant::now() + RETRY);
                    return;
                }
            }
        }
    }
}

impl Unfinished {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Opens a log file. It must be a regular file and not a link: who can write to the log directory (a pod with a
/// volume there) must not lead the engine's writes elsewhere or let it wait for a reader.
fn open(path: &Path) -> io::Result<File> {
    let flags =
        OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR | Mode::RGRP)?;
    if FileType::from_raw_mode(rustix::fs::fstat(file.as_fd())?.st_mode) != FileType::RegularFile {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    Ok(File::from(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &Path) -> String {
        std::fs::read_to_string(path).expect("log")
    }

    /// The lines without their times.
    fn lines(path: &Path) -> Vec<String> {
        read(path).lines().map(|line| line.split_once(' ').expect("a time").1.to_owned()).collect()
    }

    #[test]
    fn lines_are_written_to_the_letter() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("log");
        let mut log = Log::open(&path).expect("open");
        let (mut out, mut err) = (Unfinished::default(), Unfinished::default());
        assert_eq!(log.append(Stream::Stdout, &mut out, b"hello World\n\nno new", Timestamp(6)), 19);
        log.append(Stream::Stderr, &mut err, b"oops\r\n", Timestamp(7));
        log.append(Stream::Stdout, &mut out, b"line", Timestamp(8));
        log.finish(Stream::Stdout, &mut out, Timestamp(9));
        log.finish(Stream::Stderr, &mut err, Timestamp(9));
        let expected = "1970-01-01T00:00:00.000000006Z stdout F hello World\n\
                        1970-01-01T00:00:00.000000006Z stdout F \n\
                        1970-01-01T00:00:00.000000007Z stderr F oops\r\n\
                        1970-01-01T00:00:00.000000009Z stdout P no newline\n";
        assert_eq!(read(&path), expected);
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&path).expect("log").permissions().mode() & 0o777, 0o640);
    }

    #[test]
    fn many_short_lines_need_more_than_one_batch() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("log");
        let mut log = Log::open(&path).expect("open");
        let numbers: String = (0..1000).map(|number| format!("{number}\n")).collect();
        let mut out = Unfinished::default();
        assert_eq!(log.append(Stream::Stdout, &mut out, numbers.as_bytes(), Timestamp(0)), numbers.len());
        let expected: Vec<String> = (0..1000).map(|number| format!("stdout F {number}")).collect();
        assert_eq!(lines(&path), expected);
    }

    #[test]
    fn a_refused_write_blocks_and_loses_nothing() {
        // Writes to /dev/full fail as on a full disk.
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("log");
        let mut log = Log::open(&path).expect("open");
        let good = mem::replace(&mut log.file, File::options().write(true).open("/dev/full").expect("full"));
        let numbers: String = (0..1000).map(|number| format!("{number}\n")).collect();
        let mut out = Unfinished::default();
        let taken = log.append(Stream::Stdout, &mut out, numbers.as_bytes(), Timestamp(0));
        assert!(log.is_blocked() && taken > 0 && taken < numbers.len());
        assert_eq!(log.append(Stream::Stdout, &mut out, &numbers.as_bytes()[taken..], Timestamp(0)), 0);
        log.retry();
        assert!(log.is_blocked() && log.retry_at().is_some(), "still full");
        log.reopen().expect("the new file is there at once");
        assert!(log.is_blocked(), "but the old one gets its rest first");
        log.file = good;
        log.retry();
        assert!(!log.is_blocked() && log.retry_at().is_none());
        log.append(Stream::Stdout, &mut out, &numbers.as_bytes()[taken..], Timestamp(0));
        let expected: Vec<String> = (0..1000).map(|number| format!("stdout F {number}")).collect();
        assert_eq!(lines(&path), expected);
    }

    #[test]
    fn reopening_leaves_the_old_file_alone() {
        let dir = tempfile::tempdir().expect("dir");
        let (path, rotated) = (dir.path().join("log"), dir.path().join("log.1"));
        let mut log = Log::open(&path).expect("open");
        let mut out = Unfinished::default();
        log.append(Stream::Stdout, &mut out, b"one\ntw", Timestamp(0));
        std::fs::rename(&path, &rotated).expect("rotate");
        log.reopen().expect("reopen");
        assert_eq!(read(&path), "");
        log.append(Stream::Stdout, &mut out, b"o\n", Timestamp(0));
        assert_eq!((lines(&rotated), lines(&path)), (vec!["stdout F one".to_owned()], vec!["stdout F two".to_owned()]));
        std::fs::rename(&path, &rotated).expect("rotate");
        std::os::unix::fs::symlink("/etc/passwd", &path).expect("link");
        log.reopen().expect_err("links are not followed");
        log.append(Stream::Stdout, &mut out, b"three\n", Timestamp(0));
        assert_eq!(lines(&rotated), ["stdout F two", "stdout F three"]);
    }
}
