//! Memory of processes by name.

use std::fs;

/// Sum of the proportional set sizes of all processes whose name begins with one of these, bytes.
pub(crate) fn pss(names: &[String]) -> u64 {
    let processes = fs::read_dir("/proc").expect("read /proc").filter_map(Result::ok).map(|entry| entry.path());
    let of_one = |path: std::path::PathBuf| {
        let name = fs::read_to_string(path.join("comm")).ok()?;
        if !names.iter().any(|beginning| name.starts_with(beginning)) {
            return None;
        }
        let rollup = fs::read_to_string(path.join("smaps_rollup")).ok()?;
        let line = rollup.lines().find(|line| line.starts_with("Pss:"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    processes.filter_map(of_one).sum::<u64>() * 1024
}
