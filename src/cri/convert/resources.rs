//! Limits.

use super::check::{Invalid, each, map, word};
use crate::{
    types::{HugepageLimit, Resources},
    wire,
};

/// Limits as they are asked for. Whether they make sense depends on the host's cgroups, so the executor says that.
pub(crate) fn from_wire(limits: wire::LinuxContainerResources) -> Result<Resources, Invalid> {
    Ok(Resources {
        cpu_period: limits.cpu_period,
        cpu_quota: limits.cpu_quota,
        cpu_shares: limits.cpu_shares,
        memory_limit: limits.memory_limit_in_bytes,
        memory_swap_limit: limits.memory_swap_limit_in_bytes,
        oom_score_adj: limits.oom_score_adj,
        cpuset_cpus: word("cpuset_cpus", limits.cpuset_cpus)?,
        cpuset_mems: word("cpuset_mems", limits.cpuset_mems)?,
        hugepage_limits: each("hugepage_limits", limits.hugepage_limits, |page| {
            Ok(HugepageLimit { page_size: word("page_size", page.page_size)?, limit: page.limit })
        })?,
        unified: map("unified", limits.unified)?,
    })
}

/// Limits in force.
pub(crate) fn to_wire(limits: &Resources) -> wire::LinuxContainerResources {
    wire::LinuxContainerResources {
        cpu_period: limits.cpu_period,
        cpu_quota: limits.cpu_quota,
        cpu_shares: limits.cpu_shares,
        memory_limit_in_bytes: limits.memory_limit,
        memory_swap_limit_in_bytes: limits.memory_swap_limit,
        oom_score_adj: limits.oom_score_adj,
        cpuset_cpus: limits.cpuset_cpus.clone(),
        cpuset_mems: limits.cpuset_mems.clone(),
        hugepage_limits: limits
            .hugepage_limits
            .iter()
            .map(|page| wire::HugepageLimit { page_size: page.page_size.clone(), limit: page.limit })
            .collect(),
        unified: limits.unified.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_come_back_as_they_were_given() {
        let limits = wire::LinuxContainerResources {
            cpu_period: 100_000,
            cpu_quota: -1,
            cpu_shares: 512,
            memory_limit_in_bytes: 64 << 20,
            memory_swap_limit_in_bytes: 65 << 20,
            oom_score_adj: -997,
            cpuset_cpus: "0-1,3".to_owned(),
            cpuset_mems: "0".to_owned(),
            hugepage_limits: vec![wire::HugepageLimit { page_size: "2MB".to_owned(), limit: u64::MAX }],
            unified: [("memory.oom.group".to_owned(), "1".to_owned())].into(),
        };
        assert_eq!(to_wire(&from_wire(limits.clone()).expect("fine")), limits);
    }
}
