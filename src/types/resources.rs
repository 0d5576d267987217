//! Limits of pods and containers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Limits as the CRI's `LinuxContainerResources` gives them. Zero, and an empty string, mean "not set".
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// Length of a CFS period, µs.
    pub cpu_period: i64,
    /// CPU time in a period, µs; −1 for no limit.
    pub cpu_quota: i64,
    /// Relative weight, 2–262144; 1024 is the default.
    pub cpu_shares: i64,
    /// Bytes; −1 for no limit.
    pub memory_limit: i64,
    /// Memory plus swap, bytes (the cgroup v1 sense); −1 for no limit.
    pub memory_swap_limit: i64,
    /// −1000 to 1000.
    pub oom_score_adj: i64,
    /// CPU list, `cpuset(7)` list format.
    pub cpuset_cpus: String,
    /// Memory node list.
    pub cpuset_mems: String,
    /// Limits of huge pages, one a page size.
    pub hugepage_limits: Vec<HugepageLimit>,
    /// Raw cgroup v2 file names and values.
    pub unified: BTreeMap<String, String>,
}

/// A limit on huge pages of one size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HugepageLimit {
    /// `2MB`, `1GB`, …
    pub page_size: String,
    /// Bytes.
    pub limit: u64,
}
