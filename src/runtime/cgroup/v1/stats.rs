//! Measuring a v1 cgroup.

use std::path::Path;

use super::Layout;
use crate::{
    runtime::cgroup::{Cpu, Error, Io, Memory, Pressure, Stats, file},
    types::Timestamp,
};

/// Limits from here on are none: the kernel shows the greatest multiple of the page size.
const UNLIMITED: u64 = 1 << 62;

/// Measures `path`.
pub(super) fn read(layout: &Layout, path: &Path) -> Result<Stats, Error> {
    let at = Timestamp::now();
    let pressure = |file: &str| match &layout.unified {
        Some(root) => Ok(file::read_if_present(&root.join(path).join(file))?.as_deref().and_then(Pressure::parse)),
        None => Ok::<_, Error>(None),
    };
    let cpu = match layout.directory("cpuacct", path) {
        Some(directory) => {
            Some(Cpu { usage_ns: file::number(&directory.join("cpuacct.usage"))?, pressure: pressure("cpu.pressure")? })
        }
        None => None,
    };
    let memory = match layout.directory("memory", path) {
        Some(directory) => {
            let usage = file::number(&directory.join("memory.usage_in_bytes"))?;
            let text = file::read(&directory.join("memory.stat"))?;
            Some(Memory { pressure: pressure("memory.pressure")?, ..memory(usage, &text) })
        }
        None => None,
    };
    let io = pressure("io.pressure")?.map(|pressure| Io { pressure: Some(pressure) });
    Ok(Stats { at, cpu, memory, io })
}

/// From `memory.stat`, whose `total_` lines count the groups below as `memory.usage_in_bytes` does.
fn memory(usage: u64, text: &str) -> Memory {
    let mut memory = Memory { usage, ..Memory::default() };
    let mut joint_limit = None;
    for (key, value) in file::pairs(text) {
        match key {
            "hierarchical_memory_limit" => memory.limit = limit(value),
            "hierarchical_memsw_limit" => joint_limit = limit(value),
            "total_cache" => memory.cache = value,
            "total_rss" => memory.rss = value,
            "total_mapped_file" => memory.mapped_file = value,
            "total_swap" => memory.swap = Some(value),
            "total_pgfault" => memory.page_faults = value,
            "total_pgmajfault" => memory.major_page_faults = value,
            "total_inactive_file" => memory.inactive_file = value,
            "total_active_file" => memory.active_file = value,
            _ => {}
        }
    }
    memory.working_set = usage.saturating_sub(memory.inactive_file);
    memory.swap_available = match (joint_limit, memory.limit) {
        (Some(both), Some(memory_alone)) => {
            Some(both.saturating_sub(memory_alone).saturating_sub(memory.swap.unwrap_or(0)))
        }
        _ => None,
    };
    memory
}

/// A limit that is one.
pub(super) fn limit(value: u64) -> Option<u64> {
    Some(value).filter(|value| *value < UNLIMITED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_counts_the_groups_below_and_sees_through_no_limit() {
        let text = "rss 1\npgfault 9\nhierarchical_memory_limit 9223372036854771712\ntotal_cache 50\ntotal_rss 40\n\
                    total_mapped_file 5\ntotal_pgfault 12\ntotal_pgmajfault 3\ntotal_inactive_file 30\n\
                    total_active_file 20\n";
        let expected = Memory {
            usage: 100,
            working_set: 70,
            rss: 40,
            cache: 50,
            active_file: 20,
            inactive_file: 30,
            mapped_file: 5,
            page_faults: 12,
            major_page_faults: 3,
            ..Memory::default()
        };
        assert_eq!(memory(100, text), expected);
        assert_eq!(memory(10, text).working_set, 0);
    }

    #[test]
    fn swap_left_is_what_the_joint_limit_leaves() {
        let text = "hierarchical_memory_limit 100\nhierarchical_memsw_limit 150\ntotal_swap 20\n";
        let memory = memory(0, text);
        assert_eq!((memory.limit, memory.swap, memory.swap_available), (Some(100), Some(20), Some(30)));
    }
}
