//! What metrics tell of a v2 cgroup.

use std::path::Path;

use super::{effective, stats};
use crate::runtime::cgroup::{DeviceIo, Error, Metrics, Throttling, file};

/// Reads all of it for the cgroup in `directory`.
pub(super) fn read(directory: &Path) -> Result<Metrics, Error> {
    let text = |name: &str| file::read_if_present(&directory.join(name));
    let bound = |name: &str| file::bound(&directory.join(name));
    let cpu = text("cpu.stat")?.unwrap_or_default();
    let cpu_ns = |key: &str| file::keyed(&cpu, key).map(|micros| micros.saturating_mul(1_000));
    let events = text("memory.events")?;
    let event = |key: &str| events.as_ref().and_then(|events| file::keyed(events, key));
    let memory = text("memory.stat")?;
    Ok(Metrics {
        stats: stats::read(directory)?,
        limits: effective::read(directory)?,
        cpu_user_ns: cpu_ns("user_usec"),
        cpu_system_ns: cpu_ns("system_usec"),
        throttling: Throttling::parse(&cpu, 1_000),
        memory_peak: bound("memory.peak")?,
        memory_kernel: memory.and_then(|text| file::keyed(&text, "kernel")),
        memory_limit_hits: event("max"),
        memory_reservation: bound("memory.low")?,
        oom_kills: event("oom_kill"),
        tasks: bound("pids.current")?,
        tasks_limit: bound("pids.max")?,
        devices: devices(&text("io.stat")?.unwrap_or_default()),
    })
}

/// From lines `8:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0`; a device without traffic may have no fields.
fn devices(text: &str) -> Vec<DeviceIo> {
    let mut devices = Vec::new();
    for line in text.lines() {
        let mut fields = line.split(' ');
        let number = fields.next().unwrap_or_default();
        for (key, value) in fields.filter_map(|field| field.split_once('=')) {
            let (Ok(value), Some(device)) = (value.parse(), DeviceIo::entry(&mut devices, number)) else { continue };
            match key {
                "rbytes" => device.read_bytes = value,
                "wbytes" => device.written_bytes = value,
                "dbytes" => device.discarded_bytes = value,
                "rios" => device.reads = value,
                "wios" => device.writes = value,
                _ => {}
            }
        }
    }
    devices
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn all_that_is_there_is_read_and_the_rest_left_open() {
        let dir = tempfile::tempdir().expect("temporary directory");
        for (name, content) in [
            ("cpu.stat", "usage_usec 12\nuser_usec 10\nsystem_usec 2\nnr_periods 4\n"),
            ("memory.events", "low 0\nhigh 0\nmax 7\noom 2\noom_kill 1\n"),
            ("memory.stat", "anon 300\nkernel 55\nkernel_stack 5\n"),
            ("memory.low", "4096\n"),
            ("pids.current", "3\n"),
            ("pids.max", "max\n"),
            ("io.stat", "0:41 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=3 dios=1\n7:0\n"),
        ] {
            fs::write(dir.path().join(name), content).expect("file");
        }
        let metrics = read(dir.path()).expect("metrics");
        assert_eq!((metrics.cpu_user_ns, metrics.cpu_system_ns), (Some(10_000), Some(2_000)));
        assert_eq!(metrics.throttling.map(|throttling| throttling.periods), Some(4));
        assert_eq!((metrics.memory_limit_hits, metrics.oom_kills), (Some(7), Some(1)));
        assert_eq!((metrics.memory_kernel, metrics.memory_peak), (Some(55), None));
        assert_eq!((metrics.memory_reservation, metrics.tasks, metrics.tasks_limit), (Some(4096), Some(3), None));
        let disk = DeviceIo {
            number: (0, 41),
            name: "0:41".to_owned(),
            read_bytes: 4096,
            written_bytes: 8192,
            discarded_bytes: 3,
            reads: 1,
            writes: 2,
        };
        assert_eq!(metrics.devices, [disk]);
    }
}
