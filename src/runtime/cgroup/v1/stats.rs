//! Measuring a v1 cgroup.

use std::path::Path;

use super::Layout;
use crate::{
    runtime::cgroup::{Cpu, Error, Io, Memory, Pids, Pressure, Stats, Throttling, file},
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
        Some(directory) => Some(Cpu {
            usage_ns: file::number(&directory.join("cpuacct.usage"))?,
            throttling: throttling(layout, path)?,
            pressure: pressure("cpu.pressure")?,
        }),
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
    let pids = match layout.directory("pids", path) {
        Some(directory) => Some(Pids {
            current: file::number(&directory.join("pids.current"))?,
            limit: file::bound(&directory.join("pids.max"))?,
        }),
        None => None,
    };
    let io = pressure("io.pressure")?.map(|pressure| Io { pressure: Some(pressure) });
    Ok(Stats { at, cpu, memory, pids, io })
}

fn throttling(layout: &Layout, path: &Path) -> Result<Option<Throttling>, Error> {
    let Some(directory) = layout.directory("cpu", path) else { return Ok(None) };
    let text = file::read(&directory.join("cpu.stat"))?;
    Ok(file::keyed(&text, "nr_periods").map(|periods| Throttling {
        periods,
        throttled_periods: file::keyed(&text, "nr_throttled").unwrap_or(0),
        throttled_ns: file::keyed(&text, "throttled_time").unwrap_or(0),
    }))
}

/// From `memory.stat`, whose `total_` lines count the groups below as `memory.usage_in_bytes` does.
fn memory(usage: u64, text: &str) -> Memory {
    let total = |key: &str| file::keyed(text, key).unwrap_or(0);
    let limit = |key: &str| file::keyed(text, key).filter(|limit| *limit < UNLIMITED);
    let memory_limit = limit("hierarchical_memory_limit");
    let swap = file::keyed(text, "total_swap");
    let swap_limit = match (limit("hierarchical_memsw_limit"), memory_limit) {
        (Some(both), Some(memory)) => Some(both.saturating_sub(memory)),
        _ => None,
    };
    Memory {
        usage,
        working_set: usage.saturating_sub(total("total_inactive_file")),
        rss: total("total_rss"),
        limit: memory_limit,
        page_faults: total("total_pgfault"),
        major_page_faults: total("total_pgmajfault"),
        swap,
        swap_available: swap_limit.map(|limit| limit.saturating_sub(swap.unwrap_or(0))),
        pressure: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_counts_the_groups_below_and_sees_through_no_limit() {
        let text = "rss 1\npgfault 9\nhierarchical_memory_limit 9223372036854771712\ntotal_rss 40\ntotal_pgfault 12\n\
                    total_pgmajfault 3\ntotal_inactive_file 30\n";
        let expected =
            Memory { usage: 100, working_set: 70, rss: 40, page_faults: 12, major_page_faults: 3, ..Memory::default() };
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
