//! Logs of containers that count.

use std::{fs, path::PathBuf};

/// How many numbers a container has written so far. Fails when one is missing, doubled or out of order.
///
/// `files` are its logs, the oldest first; the last one may end in the middle of a line. If they `may_lag`, as their disk
/// was full, so may any other; then nothing comes after it.
pub(crate) fn count(files: &[PathBuf], may_lag: bool) -> u64 {
    let mut next = 0;
    let mut torn = None;
    for (position, file) in files.iter().enumerate() {
        let is_last = position + 1 == files.len();
        let Ok(text) = fs::read_to_string(file) else {
            // After a rotation a container that has ended has no new one.
            assert!(is_last, "{} is gone", file.display());
            continue;
        };
        for line in text.split_inclusive('\n') {
            assert_eq!(torn, None, "and then {line:?} in {}", file.display());
            let Some(line) = line.strip_suffix('\n') else {
                assert!(is_last || may_lag, "{} ends with half a line: {line:?}", file.display());
                torn = Some(line.to_owned());
                break;
            };
            let number = line.split(" stdout F ").nth(1);
            assert_eq!(number, Some(next.to_string().as_str()), "{}: {line:?}", file.display());
            next += 1;
        }
    }
    next
}
