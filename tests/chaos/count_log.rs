//! Logs of containers that count.

use std::{fs, path::PathBuf};

/// How many numbers a container has written so far. Fails when one is missing, doubled or out of order.
///
/// `files` are its logs, the oldest first; the last one may end in the middle of a line.
pub(crate) fn count(files: &[PathBuf]) -> u64 {
    let mut next = 0;
    for (position, file) in files.iter().enumerate() {
        let is_last = position + 1 == files.len();
        let Ok(text) = fs::read_to_string(file) else {
            // After a rotation a container that has ended has no new one.
            assert!(is_last, "{} is gone", file.display());
            continue;
        };
        for line in text.split_inclusive('\n') {
            let Some(line) = line.strip_suffix('\n') else {
                assert!(is_last, "{} ends with half a line: {line:?}", file.display());
                break;
            };
            let number = line.split(" stdout F ").nth(1);
            assert_eq!(number, Some(next.to_string().as_str()), "{}: {line:?}", file.display());
            next += 1;
        }
    }
    next
}
