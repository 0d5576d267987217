//! What a cgroup uses. Fields are `None` where the kernel or the version does not tell.

use crate::types::Timestamp;

/// One measurement.
#[derive(Debug, Clone, PartialEq)]
pub struct Stats {
    /// When it was taken.
    pub at: Timestamp,
    /// CPU time.
    pub cpu: Option<Cpu>,
    /// Memory.
    pub memory: Option<Memory>,
    /// Processes.
    pub pids: Option<Pids>,
    /// Block I/O.
    pub io: Option<Io>,
}

/// CPU time, cumulative.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cpu {
    /// All of it, ns.
    pub usage_ns: u64,
    /// How the quota held it back.
    pub throttling: Option<Throttling>,
    /// Stalls.
    pub pressure: Option<Pressure>,
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

/// Processes and threads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pids {
    /// Tasks at present.
    pub current: u64,
    /// Most tasks allowed; `None` for no limit.
    pub limit: Option<u64>,
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
