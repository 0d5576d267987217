//! Reading back the limits of a v2 cgroup.

use std::path::Path;

use super::weight;
use crate::{
    runtime::cgroup::{Error, file},
    types::Resources,
};

/// Reads them; −1 is no limit, and what the host lacks stays unset.
pub(super) fn read(directory: &Path) -> Result<Resources, Error> {
    let text =
        |name: &str| Ok::<_, Error>(file::read_if_present(&directory.join(name))?.map(|text| text.trim().to_owned()));
    let bytes = |name: &str| text(name).map(|text| text.as_deref().map_or(0, bound));
    let (memory, swap) = (bytes("memory.max")?, bytes("memory.swap.max")?);
    let cpu = text("cpu.max")?.unwrap_or_default();
    let (quota, period) = cpu.split_once(' ').unwrap_or(("0", "0"));
    Ok(Resources {
        cpu_period: bound(period),
        cpu_quota: bound(quota),
        cpu_shares: text("cpu.weight")?.map_or(0, |weight| weight::to_shares(bound(&weight))),
        memory_limit: memory,
        memory_swap_limit: memory_and_swap(memory, swap),
        cpuset_cpus: text("cpuset.cpus")?.unwrap_or_default(),
        cpuset_mems: text("cpuset.mems")?.unwrap_or_default(),
        ..Resources::default()
    })
}

fn bound(text: &str) -> i64 {
    if text == "max" { -1 } else { text.parse().unwrap_or(0) }
}

/// The v1 sense, memory plus swap, of two separate limits. Without a limit of memory, one of swap alone has none.
fn memory_and_swap(memory: i64, swap: i64) -> i64 {
    match (memory, swap) {
        (0, _) => 0,
        (-1, _) | (_, -1) => -1,
        (memory, swap) => memory.saturating_add(swap),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn limits_read_back_as_they_were_asked_for() {
        let dir = tempfile::tempdir().expect("temporary directory");
        for (name, content) in [
            ("cpu.max", "max 100000\n"),
            ("cpu.weight", "100\n"),
            ("memory.max", "1000\n"),
            ("memory.swap.max", "500\n"),
            ("cpuset.cpus", "0-1\n"),
        ] {
            fs::write(dir.path().join(name), content).expect("file");
        }
        let expected = Resources {
            cpu_period: 100_000,
            cpu_quota: -1,
            cpu_shares: 1024,
            memory_limit: 1000,
            memory_swap_limit: 1500,
            cpuset_cpus: "0-1".into(),
            ..Resources::default()
        };
        assert_eq!(read(dir.path()).expect("limits"), expected);
    }

    #[test]
    fn no_limit_of_either_is_no_limit_of_both() {
        assert_eq!(memory_and_swap(-1, 0), -1);
        assert_eq!(memory_and_swap(1000, -1), -1);
        assert_eq!(memory_and_swap(1000, 0), 1000);
        assert_eq!(memory_and_swap(0, 0), 0);
    }
}
