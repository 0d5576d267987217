//! Limits as planned: validated, still independent of the files that they are written to.

use serde::{Deserialize, Serialize};

use super::{DeviceRule, Version};
use crate::types::Resources;

/// Least memory in which the kernel can start any program at all: its page tables, stack and first pages.
const LEAST_MEMORY: i64 = 256 * 1024;
/// Bounds of a CFS period and least quota, µs (`kernel/sched/core.c`).
const PERIODS: std::ops::RangeInclusive<i64> = 1_000..=1_000_000;
/// The kernel's `PID_MAX_LIMIT`.
const MOST_PIDS: i64 = 4_194_304;
/// The one v2 value that kubelet sends whatever the host has.
const SENT_BY_KUBELET_ALWAYS: &str = "memory.oom.group";

/// What a cgroup is limited to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// CPU, memory, huge pages and raw v2 values; zero and empty mean "leave as it is".
    pub resources: Resources,
    /// Most processes; −1 for no limit, `None` leaves it as it is.
    pub pids: Option<i64>,
    /// Devices that may be used: all others may not. `None` leaves the rules in force as they are.
    pub devices: Option<Vec<DeviceRule>>,
}

/// A limit that makes no sense, as a sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLimit {
    /// Negative CPU shares.
    #[error("cpu shares must not be negative: {0}")]
    CpuShares(i64),
    /// A CFS period that the kernel does not take.
    #[error("cpu period of {0} µs is out of range ({min} to {max})", min = PERIODS.start(), max = PERIODS.end())]
    CpuPeriod(i64),
    /// A CFS quota that the kernel does not take.
    #[error("cpu quota of {0} µs is too small (at least {min}, or -1 for none)", min = PERIODS.start())]
    CpuQuota(i64),
    /// Negative memory.
    #[error("{what} limit must be -1 or positive: {limit}")]
    Negative {
        /// `memory`, `swap` or `process`.
        what: &'static str,
        /// The limit.
        limit: i64,
    },
    /// Too little memory for any program.
    #[error("memory limit of {0} bytes is too small to start a program (at least {LEAST_MEMORY})")]
    TooLittleMemory(i64),
    /// Memory plus swap is less than memory.
    #[error("limit of memory plus swap ({swap} bytes) is below the memory limit ({memory})")]
    SwapBelowMemory {
        /// Memory plus swap.
        swap: i64,
        /// Memory.
        memory: i64,
    },
    /// A swap limit alone does not say how much of it is swap.
    #[error("a limit of memory plus swap ({0} bytes) needs a memory limit")]
    SwapWithoutMemory(i64),
    /// Not a list of numbers and ranges.
    #[error("{file} is not a list such as 0-2,5: {list:?}")]
    List {
        /// `cpuset.cpus` or `cpuset.mems`.
        file: &'static str,
        /// What was given.
        list: String,
    },
    /// More processes than the kernel can number.
    #[error("process limit of {0} is more than the kernel can have ({MOST_PIDS})")]
    TooManyPids(i64),
    /// Not a size of huge pages.
    #[error("huge page size is not like 2MB: {0:?}")]
    PageSize(String),
    /// A raw v2 value on a v1 host.
    #[error("{0:?} can only be set on cgroup v2, and this host uses v1")]
    NeedsV2(String),
    /// Not the name of a controller's file.
    #[error("{0:?} is not the name of a cgroup limit")]
    UnifiedName(String),
}

impl Limits {
    /// Checks what is asked for.
    ///
    /// # Errors
    /// Values that no kernel takes, that no program could start with, or, in `unified`, anything on cgroup v1
    /// (`memory.oom.group` is left out there: kubelet sends it always).
    pub fn plan(
        resources: &Resources,
        devices: Option<Vec<DeviceRule>>,
        version: Version,
    ) -> Result<Self, InvalidLimit> {
        check_cpu(resources)?;
        check_memory(resources)?;
        check_list("cpuset.cpus", &resources.cpuset_cpus)?;
        check_list("cpuset.mems", &resources.cpuset_mems)?;
        for hugepages in &resources.hugepage_limits {
            check_page_size(&hugepages.page_size)?;
        }
        let mut resources = resources.clone();
        if version == Version::V1 {
            resources.unified.remove(SENT_BY_KUBELET_ALWAYS);
        }
        for name in resources.unified.keys() {
            check_unified(name, version)?;
        }
        Ok(Self { resources, pids: None, devices })
    }

    /// Also limits the number of processes: −1 for no limit, 0 leaves it as it is.
    pub fn with_pids(self, limit: i64) -> Result<Self, InvalidLimit> {
        match limit {
            0 => Ok(Self { pids: None, ..self }),
            -1 | 1..=MOST_PIDS => Ok(Self { pids: Some(limit), ..self }),
            ..-1 => Err(InvalidLimit::Negative { what: "process", limit }),
            _ => Err(InvalidLimit::TooManyPids(limit)),
        }
    }
}

fn check_cpu(resources: &Resources) -> Result<(), InvalidLimit> {
    let Resources { cpu_period, cpu_quota, cpu_shares, .. } = *resources;
    if cpu_shares < 0 {
        return Err(InvalidLimit::CpuShares(cpu_shares));
    }
    if cpu_period != 0 && !PERIODS.contains(&cpu_period) {
        return Err(InvalidLimit::CpuPeriod(cpu_period));
    }
    if !matches!(cpu_quota, -1 | 0) && cpu_quota < *PERIODS.start() {
        return Err(InvalidLimit::CpuQuota(cpu_quota));
    }
    Ok(())
}

fn check_memory(resources: &Resources) -> Result<(), InvalidLimit> {
    let Resources { memory_limit: memory, memory_swap_limit: swap, .. } = *resources;
    for (what, limit) in [("memory", memory), ("swap", swap)] {
        if limit < -1 {
            return Err(InvalidLimit::Negative { what, limit });
        }
    }
    if memory > 0 && memory < LEAST_MEMORY {
        return Err(InvalidLimit::TooLittleMemory(memory));
    }
    if swap > 0 && memory <= 0 {
        return Err(InvalidLimit::SwapWithoutMemory(swap));
    }
    if swap > 0 && swap < memory {
        return Err(InvalidLimit::SwapBelowMemory { swap, memory });
    }
    Ok(())
}

/// `cpuset(7)`, "List format".
fn check_list(file: &'static str, list: &str) -> Result<(), InvalidLimit> {
    let is_range = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        matches!((first.parse::<u16>(), last.parse::<u16>()), (Ok(first), Ok(last)) if first <= last)
    };
    if list.is_empty() || list.split(',').all(is_range) {
        return Ok(());
    }
    Err(InvalidLimit::List { file, list: list.to_owned() })
}

fn check_page_size(size: &str) -> Result<(), InvalidLimit> {
    let number = ["KB", "MB", "GB"].iter().find_map(|unit| size.strip_suffix(unit));
    if number.is_some_and(|number| !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit())) {
        return Ok(());
    }
    Err(InvalidLimit::PageSize(size.to_owned()))
}

/// A name becomes a path below the cgroup, and the `cgroup.` files are no limits but commands (`cgroup.kill`).
fn check_unified(name: &str, version: Version) -> Result<(), InvalidLimit> {
    let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_'));
    let controller = name.split_once('.').map_or("", |(controller, _)| controller);
    if !is_plain || controller.is_empty() || controller == "cgroup" {
        return Err(InvalidLimit::UnifiedName(name.to_owned()));
    }
    match version {
        Version::V1 => Err(InvalidLimit::NeedsV2(name.to_owned())),
        Version::V2 => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::HugepageLimit;

    fn refusal(resources: Resources) -> InvalidLimit {
        Limits::plan(&resources, None, Version::V2).expect_err("an absurd limit was taken")
    }

    #[test]
    fn what_kubelet_sends_passes_on_both_versions() {
        let hugepages = ["64KB", "2MB", "1GB"].map(|size| HugepageLimit { page_size: size.into(), limit: 0 });
        let resources = Resources {
            cpu_period: 100_000,
            cpu_quota: 20_000,
            cpu_shares: 204,
            memory_limit: 15 << 20,
            memory_swap_limit: 15 << 20,
            oom_score_adj: 999,
            cpuset_cpus: "0-1,3".into(),
            hugepage_limits: hugepages.to_vec(),
            unified: [("memory.oom.group".to_owned(), "1".to_owned())].into(),
            ..Resources::default()
        };
        let v2 = Limits::plan(&resources, None, Version::V2).expect("v2");
        assert_eq!(v2.resources, resources);
        let v1 = Limits::plan(&resources, None, Version::V1).expect("v1");
        assert!(v1.resources.unified.is_empty(), "v1 has no file for it");
    }

    #[test]
    fn no_limit_and_unset_are_taken() {
        let unlimited = Resources { cpu_quota: -1, memory_limit: -1, memory_swap_limit: -1, ..Resources::default() };
        Limits::plan(&unlimited, None, Version::V1).expect("no limit");
        Limits::plan(&Resources::default(), None, Version::V1).expect("unset");
    }

    #[test]
    fn absurd_limits_are_refused_with_a_sentence() {
        let base = Resources::default;
        let cases = [
            (Resources { cpu_shares: -5, ..base() }, "cpu shares must not be negative: -5"),
            (Resources { cpu_period: 10, ..base() }, "cpu period of 10 µs is out of range (1000 to 1000000)"),
            (
                Resources { cpu_quota: 999, ..base() },
                "cpu quota of 999 µs is too small (at least 1000, or -1 for none)",
            ),
            (Resources { cpu_quota: -2, ..base() }, "cpu quota of -2 µs is too small (at least 1000, or -1 for none)"),
            (Resources { memory_limit: -2, ..base() }, "memory limit must be -1 or positive: -2"),
            (
                Resources { memory_limit: 100, ..base() },
                "memory limit of 100 bytes is too small to start a program (at least 262144)",
            ),
            (
                Resources { memory_limit: 2 << 20, memory_swap_limit: 1 << 20, ..base() },
                "limit of memory plus swap (1048576 bytes) is below the memory limit (2097152)",
            ),
            (
                Resources { memory_swap_limit: 1 << 20, ..base() },
                "a limit of memory plus swap (1048576 bytes) needs a memory limit",
            ),
            (Resources { cpuset_cpus: "3-1".into(), ..base() }, "cpuset.cpus is not a list such as 0-2,5: \"3-1\""),
            (
                Resources { cpuset_mems: "all\n".into(), ..base() },
                "cpuset.mems is not a list such as 0-2,5: \"all\\n\"",
            ),
            (
                Resources { hugepage_limits: vec![HugepageLimit { page_size: "2mb/..".into(), limit: 0 }], ..base() },
                "huge page size is not like 2MB: \"2mb/..\"",
            ),
        ];
        for (resources, sentence) in cases {
            assert_eq!(refusal(resources).to_string(), sentence);
        }
    }

    #[test]
    fn raw_values_must_name_a_limit() {
        for name in ["../cpu.max", "cgroup.kill", "cpu", "", ".max", "cpu max.x"] {
            let unified = [(name.to_owned(), "1".to_owned())].into();
            assert_eq!(
                refusal(Resources { unified, ..Resources::default() }),
                InvalidLimit::UnifiedName(name.to_owned())
            );
        }
        let unified = [("memory.high".to_owned(), "max".to_owned())].into();
        let resources = Resources { unified, ..Resources::default() };
        assert_eq!(Limits::plan(&resources, None, Version::V1), Err(InvalidLimit::NeedsV2("memory.high".into())));
        Limits::plan(&resources, None, Version::V2).expect("v2 has it");
    }

    #[test]
    fn process_limits_are_checked() {
        let limits = Limits::default();
        assert_eq!(limits.clone().with_pids(0).expect("unset").pids, None);
        assert_eq!(limits.clone().with_pids(-1).expect("no limit").pids, Some(-1));
        assert_eq!(limits.clone().with_pids(100).expect("100").pids, Some(100));
        assert!(limits.clone().with_pids(-2).is_err());
        assert!(limits.with_pids(i64::MAX).is_err());
    }

    #[test]
    fn limits_survive_the_wire_and_fields_of_newer_engines() {
        let limits = Limits {
            resources: Resources { cpu_shares: 2, ..Resources::default() },
            pids: Some(5),
            devices: Some(vec![DeviceRule::ALL]),
        };
        let json = serde_json::to_string(&limits).expect("to JSON");
        assert_eq!(serde_json::from_str::<Limits>(&json).expect("from JSON"), limits);
        serde_json::from_str::<Limits>(r#"{"pids":1,"newer":[1]}"#).expect("unknown fields are passed over");
    }
}
