//! The CRI's log files: lines of `TIME STREAM TAG TEXT`, where the tag `P` marks a part of a line and `F` its end.

use std::{
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    connection::Engine,
    error::{Answer as _, Error},
    units,
};
use crate::{
    types::Timestamp,
    wire::{ContainerState, ContainerStatus, ContainerStatusRequest},
};

/// Piece in which a file is searched backwards.
const BLOCK: u64 = 64 * 1024;
/// How long to wait for more, at first and at most. A short command is over quickly; a long one costs little.
const FIRST_WAIT: Duration = Duration::from_millis(4);
const LONGEST_WAIT: Duration = Duration::from_millis(128);

/// What of a log is shown, and how.
#[derive(Debug, Default, Clone)]
pub(super) struct View {
    /// So many last lines only.
    pub(super) tail: Option<usize>,
    /// Nothing older.
    pub(super) since: Option<Timestamp>,
    /// The time before each line.
    pub(super) timestamps: bool,
}

/// One line of a log file.
#[derive(Debug, PartialEq, Eq)]
struct Record<'a> {
    time: &'a str,
    is_stderr: bool,
    is_partial: bool,
    text: &'a [u8],
}

impl<'a> Record<'a> {
    /// Reads a line without its newline; `None` if it is not in the format.
    fn parse(line: &'a [u8]) -> Option<Self> {
        let mut fields = line.splitn(4, |&byte| byte == b' ');
        let time = std::str::from_utf8(fields.next()?).ok()?;
        let is_stderr = match fields.next()? {
            b"stdout" => false,
            b"stderr" => true,
            _ => return None,
        };
        // Tags may get fellows later, separated by colons; the first one is always P or F.
        let is_partial = match fields.next()?.split(|&byte| byte == b':').next()? {
            b"P" => true,
            b"F" => false,
            _ => return None,
        };
        Some(Self { time, is_stderr, is_partial, text: fields.next().unwrap_or_default() })
    }
}

/// A log file that is read while it grows and is rotated.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    view: View,
    file: BufReader<File>,
    /// The beginning of a line whose end is not written yet.
    line: Vec<u8>,
    /// What was shown last was a part of a line.
    in_line: bool,
}

impl LogFile {
    /// Opens the file and goes to where the view begins.
    pub(super) fn open(path: &Path, view: View) -> Result<Self, Error> {
        let open = || {
            let mut file = File::open(path)?;
            let start = match view.tail {
                Some(lines) => start_of_tail(&mut file, lines)?,
                None => 0,
            };
            file.seek(SeekFrom::Start(start))?;
            Ok(BufReader::new(file))
        };
        let file = open().map_err(|source| Error::Read { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), view, file, line: Vec::new(), in_line: false })
    }

    /// Writes what has been added since the last call to standard output and error; says whether there was anything.
    pub(super) fn copy(&mut self) -> Result<bool, Error> {
        let mut any = self.copy_open_file()?;
        if self.was_rotated() {
            // The engine may have written to the old file until it opened the new one.
            any |= self.copy_open_file()?;
            let file = File::open(&self.path).map_err(|source| Error::Read { path: self.path.clone(), source })?;
            self.file = BufReader::new(file);
            any |= self.copy_open_file()?;
        }
        Ok(any)
    }

    fn copy_open_file(&mut self) -> Result<bool, Error> {
        let (mut out, mut err) = (io::stdout().lock(), io::stderr().lock());
        let mut any = false;
        loop {
            let read = self.file.read_until(b'\n', &mut self.line);
            let read = read.map_err(|source| Error::Read { path: self.path.clone(), source })?;
            if read == 0 || self.line.pop_if(|byte| *byte == b'\n').is_none() {
                break;
            }
            any = true;
            if let Some((is_stderr, text)) = self.show() {
                if is_stderr { err.write_all(&text) } else { out.write_all(&text) }.map_err(Error::Output)?;
            }
            self.line.clear();
        }
        out.flush().map_err(Error::Output)?;
        Ok(any)
    }

    /// What the present line adds to the output, and to which.
    fn show(&mut self) -> Option<(bool, Vec<u8>)> {
        let record = Record::parse(&self.line)?;
        let is_old = |since| units::parse_moment(record.time).is_some_and(|time| time < since);
        if self.view.since.is_some_and(is_old) {
            return None;
        }
        let mut text = Vec::with_capacity(record.text.len() + 40);
        if self.view.timestamps && !self.in_line {
            text.extend_from_slice(record.time.as_bytes());
            text.push(b' ');
        }
        text.extend_from_slice(record.text);
        if !record.is_partial {
            text.push(b'\n');
        }
        self.in_line = record.is_partial;
        Some((record.is_stderr, text))
    }

    fn was_rotated(&self) -> bool {
        match (fs::metadata(&self.path), self.file.get_ref().metadata()) {
            (Ok(named), Ok(open)) => (named.dev(), named.ino()) != (open.dev(), open.ino()),
            _ => false,
        }
    }

    /// Goes on showing what is added until the container has ended, and returns its last status.
    pub(super) async fn follow(&mut self, engine: &mut Engine, container: &str) -> Result<ContainerStatus, Error> {
        let mut wait = FIRST_WAIT;
        loop {
            // Asked first: what is written before the end is seen is shown after it.
            let status = container_status(engine, container).await?;
            let any = self.copy()?;
            if !matches!(status.state(), ContainerState::ContainerCreated | ContainerState::ContainerRunning) {
                return Ok(status);
            }
            wait = if any { FIRST_WAIT } else { (wait * 2).min(LONGEST_WAIT) };
            tokio::time::sleep(wait).await;
        }
    }
}

/// Asks for the status of a container.
pub(super) async fn container_status(engine: &mut Engine, id: &str) -> Result<ContainerStatus, Error> {
    let operation = || format!("ask for the status of container {id}");
    let request = ContainerStatusRequest { container_id: id.to_owned(), verbose: false };
    let answer = engine.runtime.container_status(request).await.during(operation())?;
    answer.status.ok_or_else(|| Error::Incomplete { operation: operation(), missing: "status" })
}

/// Where the last so many lines begin, bytes. A last line without its end does not count.
fn start_of_tail(file: &mut File, lines: usize) -> io::Result<u64> {
    let len = file.metadata()?.len();
    let mut newlines = 0;
    let mut end = len;
    let mut block = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        block.clear();
        file.seek(SeekFrom::Start(start))?;
        (&*file).take(end - start).read_to_end(&mut block)?;
        for (offset, _) in block.iter().enumerate().rev().filter(|&(_, &byte)| byte == b'\n') {
            newlines += 1;
            // The newline before the first wanted line is the one after `lines` others.
            if newlines > lines {
                return Ok(start + offset as u64 + 1);
            }
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(content: &str, view: View) -> (tempfile::NamedTempFile, LogFile) {
        let file = tempfile::NamedTempFile::new().expect("temporary file");
        fs::write(file.path(), content).expect("write");
        let log = LogFile::open(file.path(), view).expect("opens");
        (file, log)
    }

    fn shown(log: &mut LogFile) -> String {
        let mut text = String::new();
        while log.file.read_until(b'\n', &mut log.line).expect("reads") > 0 {
            if log.line.pop_if(|byte| *byte == b'\n').is_none() {
                break;
            }
            if let Some((_, piece)) = log.show() {
                text.push_str(&String::from_utf8(piece).expect("UTF-8"));
            }
            log.line.clear();
        }
        text
    }

    const LOG: &str = "2026-01-01T00:00:00.000000001Z stdout F one\n\
                       2026-01-01T00:00:01.000000001Z stderr P tw\n\
                       2026-01-01T00:00:01.000000002Z stderr F o\n\
                       not in the format\n\
                       2026-01-01T00:00:02.000000001Z stdout F \n";

    #[test]
    fn records_are_taken_apart() {
        let record = Record::parse(b"2026-01-01T00:00:00Z stderr P:x a  b").expect("parses");
        assert_eq!(record, Record { time: "2026-01-01T00:00:00Z", is_stderr: true, is_partial: true, text: b"a  b" });
        assert_eq!(Record::parse(b"t stdout F").expect("empty text").text, b"");
        for bad in ["", "t", "t stdin F x", "t stdout Q x", "\u{fffd}"] {
            assert_eq!(Record::parse(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn parts_of_a_line_are_joined_and_strange_lines_left_out() {
        assert_eq!(shown(&mut log(LOG, View::default()).1), "one\ntwo\n\n");
    }

    #[test]
    fn the_time_stands_before_whole_lines_only() {
        let text = shown(&mut log(LOG, View { timestamps: true, ..View::default() }).1);
        assert_eq!(
            text,
            "2026-01-01T00:00:00.000000001Z one\n2026-01-01T00:00:01.000000001Z two\n2026-01-01T00:00:02.000000001Z \n"
        );
    }

    #[test]
    fn old_lines_and_all_but_the_last_are_left_out_on_demand() {
        let since = units::parse_moment("2026-01-01T00:00:01.000000002Z");
        assert_eq!(shown(&mut log(LOG, View { since, ..View::default() }).1), "o\n\n");
        for (lines, text) in [(0, ""), (1, "\n"), (3, "o\n\n"), (5, "one\ntwo\n\n"), (99, "one\ntwo\n\n")] {
            assert_eq!(shown(&mut log(LOG, View { tail: Some(lines), ..View::default() }).1), text, "{lines}");
        }
    }

    #[test]
    fn the_tail_is_found_across_blocks() {
        let content: String = (0..20_000).map(|n| format!("2026-01-01T00:00:00Z stdout F {n}\n")).collect();
        let text = shown(&mut log(&content, View { tail: Some(10_000), ..View::default() }).1);
        assert!(text.starts_with("10000\n") && text.ends_with("19999\n"));
    }

    #[test]
    fn a_line_is_shown_when_its_end_is_written_and_rotation_is_noticed() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("0.log");
        fs::write(&path, "2026-01-01T00:00:00Z stdout F on").expect("write");
        let mut log = LogFile::open(&path, View::default()).expect("opens");
        assert_eq!(shown(&mut log), "");
        let mut file = File::options().append(true).open(&path).expect("open");
        file.write_all(b"e\n").expect("write");
        assert_eq!(shown(&mut log), "one\n");
        assert!(!log.was_rotated());
        fs::rename(&path, directory.path().join("1.log")).expect("rename");
        assert!(!log.was_rotated(), "the new file is not there yet");
        fs::write(&path, "").expect("write");
        assert!(log.was_rotated());
    }
}
