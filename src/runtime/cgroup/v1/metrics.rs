//! What metrics tell of a v1 cgroup.

use std::path::Path;

use super::{Layout, effective, stats};
use crate::runtime::cgroup::{DeviceIo, Error, Metrics, Throttling, file};

/// Reads all of it.
pub(super) fn read(layout: &Layout, path: &Path) -> Result<Metrics, Error> {
    let text = |controller: &str, name: &str| match layout.directory(controller, path) {
        Some(directory) => file::read_if_present(&directory.join(name)),
        None => Ok(None),
    };
    let number = |controller: &str, name: &str| -> Result<Option<u64>, Error> {
        Ok(text(controller, name)?.and_then(|text| text.trim().parse().ok()))
    };
    let oom_control = text("memory", "memory.oom_control")?;
    Ok(Metrics {
        stats: stats::read(layout, path)?,
        limits: effective::read(layout, path)?,
        cpu_user_ns: number("cpuacct", "cpuacct.usage_user")?,
        cpu_system_ns: number("cpuacct", "cpuacct.usage_sys")?,
        throttling: text("cpu", "cpu.stat")?.and_then(|text| Throttling::parse(&text, 1)),
        memory_peak: number("memory", "memory.max_usage_in_bytes")?,
        memory_kernel: number("memory", "memory.kmem.usage_in_bytes")?,
        memory_limit_hits: number("memory", "memory.failcnt")?,
        memory_reservation: number("memory", "memory.soft_limit_in_bytes")?
            .map(|bytes| stats::limit(bytes).unwrap_or(0)),
        oom_kills: oom_control.and_then(|text| file::keyed(&text, "oom_kill")),
        tasks: layout.tasks(path)?,
        tasks_limit: number("pids", "pids.max")?,
        devices: devices(
            &text("blkio", "blkio.throttle.io_service_bytes_recursive")?.unwrap_or_default(),
            &text("blkio", "blkio.throttle.io_serviced_recursive")?.unwrap_or_default(),
        ),
    })
}

/// From lines `8:0 Read 4096`, one a device and kind of operation.
fn devices(bytes: &str, operations: &str) -> Vec<DeviceIo> {
    let mut devices = Vec::new();
    for (device, kind, value) in records(bytes) {
        let Some(device) = DeviceIo::entry(&mut devices, device) else { continue };
        match kind {
            "Read" => device.read_bytes = value,
            "Write" => device.written_bytes = value,
            "Discard" => device.discarded_bytes = value,
            _ => {}
        }
    }
    for (device, kind, value) in records(operations) {
        let Some(device) = DeviceIo::entry(&mut devices, device) else { continue };
        match kind {
            "Read" => device.reads = value,
            "Write" => device.writes = value,
            _ => {}
        }
    }
    devices
}

fn records(text: &str) -> impl Iterator<Item = (&str, &str, u64)> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        Some((fields.next()?, fields.next()?, fields.next()?.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_device_are_put_together() {
        let bytes = "0:41 Read 4096\n0:41 Write 8192\n0:41 Discard 1\n0:41 Total 12289\n0:42 Read 512\nTotal 12801\n";
        let operations = "0:41 Read 1\n0:41 Write 2\n0:41 Async 3\nTotal 3\n";
        let disk = DeviceIo {
            number: (0, 41),
            name: "0:41".to_owned(),
            read_bytes: 4096,
            written_bytes: 8192,
            discarded_bytes: 1,
            reads: 1,
            writes: 2,
        };
        let other = DeviceIo { number: (0, 42), name: "0:42".to_owned(), read_bytes: 512, ..DeviceIo::default() };
        assert_eq!(devices(bytes, operations), [disk, other]);
        assert_eq!(devices("Total 0\n", ""), []);
    }
}
