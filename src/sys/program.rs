//! The memory that the running program itself takes.

use std::{fs, io};

/// Lets go of the program's instructions, `madvise(2)` with `MADV_DONTNEED`. They stay in the page cache, and those that
/// are used again are mapped again, at less than a microsecond a page; those that only the start needed are not.
///
/// # Errors
/// When the process does not see its own mappings, or the kernel's.
pub fn let_go_of_instructions() -> io::Result<()> {
    let mappings = fs::read_to_string("/proc/self/maps")?;
    let here = let_go_of_instructions as *const () as usize;
    let (start, end) = mappings
        .lines()
        .filter_map(executable)
        .find(|(start, end)| (*start..*end).contains(&here))
        .ok_or(io::ErrorKind::NotFound)?;
    let start_address = std::ptr::with_exposed_provenance_mut(start);
    // SAFETY: the range is one mapping of a file that is never written to (it is not writable), so that each of its
    // pages comes back from the file with the same content.
    match unsafe { libc::madvise(start_address, end - start, libc::MADV_DONTNEED) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The addresses of a line of `/proc/self/maps` that is a private mapping of instructions which cannot be written to.
fn executable(line: &str) -> Option<(usize, usize)> {
    let mut fields = line.split_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    (fields.next()? == "r-xp").then_some(())?;
    Some((usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of the mapping of this program's instructions that are in memory.
    fn resident() -> u64 {
        let mappings = fs::read_to_string("/proc/self/smaps").expect("read the mappings");
        let here = resident as *const () as usize;
        let mut ours = false;
        for line in mappings.lines() {
            if line.contains(" r-xp ") {
                ours = executable(line).is_some_and(|(start, end)| (start..end).contains(&here));
            }
            if let (true, Some(size)) = (ours, line.strip_prefix("Rss:")) {
                return size.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024;
            }
        }
        panic!("the program is not mapped")
    }

    #[test]
    fn what_is_not_needed_is_let_go_and_what_is_needed_comes_back() {
        let before = resident();
        let_go_of_instructions().expect("let go");
        let after = resident();
        // Other tests run beside this one and need theirs.
        assert!(after < before, "{before} bytes before, {after} after");
    }
}
