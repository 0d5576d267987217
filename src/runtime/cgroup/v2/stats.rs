//! Measuring a v2 cgroup.

use std::path::Path;

use crate::{
    runtime::cgroup::{Cpu, Error, Io, Memory, Pressure, Stats, file},
    types::Timestamp,
};

/// Measures the cgroup in `directory`.
pub(super) fn read(directory: &Path) -> Result<Stats, Error> {
    let at = Timestamp::now();
    let pressure = |file: &str| -> Result<Option<Pressure>, Error> {
        Ok(file::read_if_present(&directory.join(file))?.as_deref().and_then(Pressure::parse))
    };
    // `cpu.stat` is there even without the controller, `memory.current` is not.
    let text = file::read(&directory.join("cpu.stat"))?;
    let usage_us = file::keyed(&text, "usage_usec").unwrap_or(0);
    let cpu = Some(Cpu { usage_ns: usage_us.saturating_mul(1_000), pressure: pressure("cpu.pressure")? });
    let memory = match file::bound(&directory.join("memory.current"))? {
        Some(usage) => Some(Memory { pressure: pressure("memory.pressure")?, ..memory(directory, usage)? }),
        None => None,
    };
    let io = pressure("io.pressure")?.map(|pressure| Io { pressure: Some(pressure) });
    Ok(Stats { at, cpu, memory, io })
}

fn memory(directory: &Path, usage: u64) -> Result<Memory, Error> {
    let text = file::read(&directory.join("memory.stat"))?;
    let mut memory = Memory { usage, limit: file::bound(&directory.join("memory.max"))?, ..Memory::default() };
    for (key, value) in file::pairs(&text) {
        match key {
            "anon" => memory.rss = value,
            "file" => memory.cache = value,
            "file_mapped" => memory.mapped_file = value,
            "inactive_file" => memory.inactive_file = value,
            "active_file" => memory.active_file = value,
            "pgfault" => memory.page_faults = value,
            "pgmajfault" => memory.major_page_faults = value,
            _ => {}
        }
    }
    memory.working_set = usage.saturating_sub(memory.inactive_file);
    memory.swap = file::bound(&directory.join("memory.swap.current"))?;
    let swap_limit = file::bound(&directory.join("memory.swap.max"))?;
    memory.swap_available = swap_limit.map(|limit| limit.saturating_sub(memory.swap.unwrap_or(0)));
    Ok(memory)
}

/// Bytes in use that no reclaim of page cache can free; 0 without the controller.
pub(super) fn unreclaimable(directory: &Path) -> Result<u64, Error> {
    let Some(usage) = file::bound(&directory.join("memory.current"))? else { return Ok(0) };
    let text = file::read(&directory.join("memory.stat"))?;
    let cache = ["active_file", "inactive_file"].iter().filter_map(|key| file::keyed(&text, key)).sum::<u64>();
    Ok(usage.saturating_sub(cache))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("temporary directory");
        for (name, content) in files {
            fs::write(dir.path().join(name), content).expect("file");
        }
        dir
    }

    #[test]
    fn all_is_measured_in_nanoseconds_and_bytes() {
        let dir = tree(&[
            ("cpu.stat", "usage_usec 12\nuser_usec 10\n"),
            ("cpu.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=5\n"),
            ("memory.current", "1000\n"),
            (
                "memory.stat",
                "anon 300\nfile 600\nfile_mapped 70\ninactive_file 400\nactive_file 100\npgfault 8\npgmajfault 1\n",
            ),
            ("memory.max", "2000\n"),
            ("memory.swap.current", "10\n"),
            ("memory.swap.max", "50\n"),
        ]);
        let stats = read(dir.path()).expect("stats");
        let cpu = stats.cpu.expect("cpu");
        assert_eq!(cpu.usage_ns, 12_000);
        assert_eq!(cpu.pressure.expect("pressure").some.total_ns, 5_000);
        let expected = Memory {
            usage: 1000,
            working_set: 600,
            rss: 300,
            cache: 600,
            active_file: 100,
            inactive_file: 400,
            mapped_file: 70,
            limit: Some(2000),
            page_faults: 8,
            major_page_faults: 1,
            swap: Some(10),
            swap_available: Some(40),
            pressure: None,
        };
        assert_eq!(stats.memory, Some(expected));
        assert_eq!(stats.io, None);
        assert_eq!(unreclaimable(dir.path()).expect("unreclaimable"), 500);
    }

    #[test]
    fn missing_controllers_are_told_by_their_absence() {
        let dir = tree(&[("cpu.stat", "usage_usec 1\n")]);
        let stats = read(dir.path()).expect("stats");
        assert_eq!(stats.memory, None);
        assert_eq!(unreclaimable(dir.path()).expect("unreclaimable"), 0);
        assert!(read(&dir.path().join("gone")).is_err());
    }
}
