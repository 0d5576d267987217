//! What a cgroup uses. Fields are `None` where the kernel or the version does not tell.
//!
//! kubelet asks for this of all containers every few seconds, and each file costs some 10 µs: what only metrics need is
//! in [`super::Metrics`].

use crate::types::Timestamp;

/// One measurement.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stats {
    /// When it was taken.
    pub at: Timestamp,
    /// CPU time.
    pub cpu: Option<Cpu>,
    /// Memory.
    pub memory: Option<Memory>,
    /// Block I/O.
    pub io: Option<Io>,
}

/// CPU time, cumulative.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cpu {
    /// All of it, ns.
    pub usage_ns: u64,
    /// Stalls.
    pub pressure: Option<Pressure>,
}

/// Memory in bytes, at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Memory {
    /// All that is charged.
    pub usage: u64,
    /// Usage without the inactive page cache.
    pub working_set: u64,
    /// Anonymous memory.
    pub rss: u64,
    /// Page cache.
    pub cache: u64,
    /// Page cache that was used lately.
    pub active_file: u64,
    /// Page cache that was not.
    pub inactive_file: u64,
    /// Page cache that is mapped by processes.
    pub mapped_file: u64,
    /// Limit; `None` for none.
    pub limit: Option<u64>,
    /// Page faults, cumulative.
    pub page_faults: u64,
    /// Page faults that needed I/O, cumulative.
    pub major_page_faults: u64,
    /// Swap in use.
    pub swap: Option<u64>,
    /// Swap that may still be used; `None` for no limit of its own.
    pub swap_available: Option<u64>,
    /// Stalls.
    pub pressure: Option<Pressure>,
}

/// Block I/O.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Io {
    /// Stalls.
    pub pressure: Option<Pressure>,
}

/// Pressure stall information, `Documentation/accounting/psi.rst`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pressure {
    /// At least one task was stalled.
    pub some: Stall,
    /// All tasks were stalled at once.
    pub full: Stall,
}

/// Stalls of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Stall {
    /// Cumulative, ns.
    pub total_ns: u64,
    /// Share of the last 10 s, percent.
    pub avg10: f64,
    /// Share of the last 60 s, percent.
    pub avg60: f64,
    /// Share of the last 300 s, percent.
    pub avg300: f64,
}

impl Pressure {
    /// Reads a pressure file: lines `some avg10=0.00 avg60=0.00 avg300=0.00 total=0` and the same for `full`, with the
    /// total in µs. A kernel before 5.13 has no `full` for CPU.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let stall = |kind: &str| text.lines().find_map(|line| Stall::parse(line.strip_prefix(kind)?));
        Some(Self { some: stall("some ")?, full: stall("full ").unwrap_or_default() })
    }
}

impl Stall {
    fn parse(fields: &str) -> Option<Self> {
        let mut stall = Self::default();
        for field in fields.split_whitespace() {
            match field.split_once('=')? {
                ("avg10", share) => stall.avg10 = share.parse().ok()?,
                ("avg60", share) => stall.avg60 = share.parse().ok()?,
                ("avg300", share) => stall.avg300 = share.parse().ok()?,
                ("total", micros) => stall.total_ns = micros.parse::<u64>().ok()?.saturating_mul(1_000),
                _ => {}
            }
        }
        Some(stall)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure_is_in_nanoseconds_and_percent() {
        let text = "some avg10=1.50 avg60=0.25 avg300=0.01 total=42\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n";
        let some = Stall { total_ns: 42_000, avg10: 1.5, avg60: 0.25, avg300: 0.01 };
        let full = Stall { total_ns: 7_000, ..Stall::default() };
        assert_eq!(Pressure::parse(text), Some(Pressure { some, full }));
    }

    #[test]
    fn cpu_pressure_of_old_kernels_lacks_full() {
        let pressure = Pressure::parse("some avg10=0.00 avg60=0.00 avg300=0.00 total=1\n").expect("parses");
        assert_eq!((pressure.some.total_ns, pressure.full), (1_000, Stall::default()));
        assert_eq!(Pressure::parse("nonsense"), None);
        assert_eq!(Pressure::parse("some avg10=x"), None);
    }
}
