//! What metrics tell of a cgroup beside its [`Stats`]. Fields are `None` where the kernel or the version does not tell.

use super::{Stats, file};
use crate::{sys::block_device, types::Resources};

/// All that is told of a cgroup.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metrics {
    /// What it uses.
    pub stats: Stats,
    /// The limits in force, as [`super::Cgroup::effective`] reads them.
    pub limits: Resources,
    /// CPU time in programs, cumulative, ns.
    pub cpu_user_ns: Option<u64>,
    /// CPU time in the kernel, cumulative, ns.
    pub cpu_system_ns: Option<u64>,
    /// How the CPU quota held it back.
    pub throttling: Option<Throttling>,
    /// The most memory that was ever in use, bytes.
    pub memory_peak: Option<u64>,
    /// Memory in use by the kernel, bytes.
    pub memory_kernel: Option<u64>,
    /// How often the memory limit was hit.
    pub memory_limit_hits: Option<u64>,
    /// Memory that reclaim spares, bytes; `None` without the controller.
    pub memory_reservation: Option<u64>,
    /// Processes that the kernel killed for memory.
    pub oom_kills: Option<u64>,
    /// Processes and threads at present.
    pub tasks: Option<u64>,
    /// Most processes and threads allowed; `None` for no limit.
    pub tasks_limit: Option<u64>,
    /// Traffic of block devices; devices without any are left out.
    pub devices: Vec<DeviceIo>,
}

/// How a CFS quota held a cgroup back, cumulative.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Throttling {
    /// Periods that passed.
    pub periods: u64,
    /// Periods in which the quota was used up.
    pub throttled_periods: u64,
    /// Time spent waiting, ns.
    pub throttled_ns: u64,
    /// Periods in which more than the quota was used.
    pub burst_periods: u64,
    /// CPU time beyond the quota, ns.
    pub burst_ns: u64,
}

impl Throttling {
    /// Reads `cpu.stat`, whose times are `scale` ns long; the versions name some lines differently. `None` where the
    /// kernel has no quotas.
    pub(super) fn parse(text: &str, scale: u64) -> Option<Self> {
        let mut throttling = Self { periods: file::keyed(text, "nr_periods")?, ..Self::default() };
        for (key, value) in file::pairs(text) {
            match key {
                "nr_throttled" => throttling.throttled_periods = value,
                "throttled_time" | "throttled_usec" => throttling.throttled_ns = value.saturating_mul(scale),
                "nr_bursts" => throttling.burst_periods = value,
                "burst_time" | "burst_usec" => throttling.burst_ns = value.saturating_mul(scale),
                _ => {}
            }
        }
        Some(throttling)
    }
}

/// Traffic of one block device, cumulative.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceIo {
    /// Major and minor number.
    pub number: (u32, u32),
    /// Its name under `/dev`, or its numbers if it has none.
    pub name: String,
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Bytes discarded.
    pub discarded_bytes: u64,
    /// Read operations.
    pub reads: u64,
    /// Write operations.
    pub writes: u64,
}

impl DeviceIo {
    /// The entry of the device that is written as `major:minor`; made if there is none.
    pub(super) fn entry<'a>(devices: &'a mut Vec<Self>, number: &str) -> Option<&'a mut Self> {
        let (major, minor) = number.split_once(':')?;
        let number = (major.parse().ok()?, minor.parse().ok()?);
        let index = devices.iter().position(|device| device.number == number).unwrap_or(devices.len());
        if index == devices.len() {
            devices.push(Self { number, name: block_device::name(number.0, number.1), ..Self::default() });
        }
        devices.get_mut(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throttling_is_read_in_both_spellings() {
        let expected =
            Throttling { periods: 4, throttled_periods: 2, throttled_ns: 7_000, burst_periods: 1, burst_ns: 3_000 };
        let v1 = "nr_periods 4\nnr_throttled 2\nthrottled_time 7000\nnr_bursts 1\nburst_time 3000\n";
        let v2 = "usage_usec 9\nnr_periods 4\nnr_throttled 2\nthrottled_usec 7\nnr_bursts 1\nburst_usec 3\n";
        assert_eq!(Throttling::parse(v1, 1), Some(expected));
        assert_eq!(Throttling::parse(v2, 1_000), Some(expected));
        assert_eq!(Throttling::parse("usage_usec 9\n", 1_000), None);
    }
}
