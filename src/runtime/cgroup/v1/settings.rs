//! From limits to v1's files.

use crate::{
    runtime::cgroup::{DeviceKind, DeviceRule, Limits, setting::Setting},
    types::Resources,
};

/// The kernel clamps shares to these bounds.
const SHARES: (i64, i64) = (2, 262_144);

/// The values to write, in order.
pub(super) fn plan(limits: &Limits) -> Vec<Setting> {
    let mut settings = Vec::new();
    cpu(&limits.resources, &mut settings);
    memory(&limits.resources, &mut settings);
    let lists = [("cpuset.cpus", &limits.resources.cpuset_cpus), ("cpuset.mems", &limits.resources.cpuset_mems)];
    settings.extend(lists.iter().filter(|(_, list)| !list.is_empty()).map(|(file, list)| Setting::new(*file, list)));
    settings.extend(limits.resources.hugepage_limits.iter().map(|hugepages| {
        let file = format!("hugetlb.{}.limit_in_bytes", hugepages.page_size);
        // Without the controller huge pages can still be had, but a limit of 0 is what kubelet sends for every size.
        Setting::new(file, hugepages.limit).optional_if(hugepages.limit == 0)
    }));
    settings.extend(limits.pids.map(|pids| match pids {
        -1 => Setting::new("pids.max", "max").optional_if(true),
        pids => Setting::new("pids.max", pids),
    }));
    if let Some(rules) = &limits.devices {
        devices(rules, &mut settings);
    }
    settings
}

fn cpu(resources: &Resources, settings: &mut Vec<Setting>) {
    let Resources { cpu_shares, cpu_period, cpu_quota, .. } = *resources;
    if cpu_shares != 0 {
        settings.push(Setting::new("cpu.shares", cpu_shares.clamp(SHARES.0, SHARES.1)));
    }
    // A kernel without CFS bandwidth control never holds a group back, as is asked for without a quota.
    let unlimited = cpu_quota <= 0;
    if cpu_period != 0 {
        settings.push(Setting::new("cpu.cfs_period_us", cpu_period).optional_if(unlimited));
    }
    if cpu_quota != 0 {
        settings.push(Setting::new("cpu.cfs_quota_us", cpu_quota).optional_if(unlimited));
    }
}

fn memory(resources: &Resources, settings: &mut Vec<Setting>) {
    let Resources { memory_limit, memory_swap_limit, .. } = *resources;
    if memory_limit != 0 {
        settings.push(Setting::new("memory.limit_in_bytes", memory_limit));
    }
    // Memory without limit cannot stay within a limit of memory plus swap.
    let total = if memory_limit == -1 { -1 } else { memory_swap_limit };
    if total != 0 {
        // Swap accounting can be off (`swapaccount=0`).
        settings.push(Setting::new("memory.memsw.limit_in_bytes", total).optional_if(total == -1));
    }
}

/// Denies all that the parent allows, then allows one by one.
fn devices(rules: &[DeviceRule], settings: &mut Vec<Setting>) {
    if rules.contains(&DeviceRule::ALL) {
        return;
    }
    settings.push(Setting::new("devices.deny", "a"));
    for rule in rules {
        // Written as `a`, a rule would mean all devices whatever its numbers are.
        let kinds = match rule.kind {
            DeviceKind::All => "bc",
            DeviceKind::Block => "b",
            DeviceKind::Char => "c",
        };
        for kind in kinds.chars() {
            let number = |number: Option<u32>| number.map_or_else(|| "*".to_owned(), |number| number.to_string());
            let (major, minor, access) = (number(rule.major), number(rule.minor), rule.access.letters());
            settings.push(Setting::new("devices.allow", format!("{kind} {major}:{minor} {access}")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{runtime::cgroup::Access, types::HugepageLimit};

    fn written(limits: &Limits) -> Vec<(String, String)> {
        plan(limits).into_iter().map(|setting| (setting.file.into_owned(), setting.value)).collect()
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(file, value)| ((*file).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn nothing_asked_for_writes_nothing() {
        assert_eq!(plan(&Limits::default()), []);
    }

    #[test]
    fn every_limit_has_its_file() {
        let resources = Resources {
            cpu_shares: 1,
            cpu_period: 100_000,
            cpu_quota: 50_000,
            memory_limit: 1 << 20,
            memory_swap_limit: 2 << 20,
            cpuset_cpus: "0-1".into(),
            hugepage_limits: vec![HugepageLimit { page_size: "2MB".into(), limit: 0 }],
            ..Resources::default()
        };
        let expected = pairs(&[
            ("cpu.shares", "2"),
            ("cpu.cfs_period_us", "100000"),
            ("cpu.cfs_quota_us", "50000"),
            ("memory.limit_in_bytes", "1048576"),
            ("memory.memsw.limit_in_bytes", "2097152"),
            ("cpuset.cpus", "0-1"),
            ("hugetlb.2MB.limit_in_bytes", "0"),
            ("pids.max", "7"),
        ]);
        assert_eq!(written(&Limits { resources, pids: Some(7), devices: None }), expected);
    }

    #[test]
    fn lifting_the_memory_limit_lifts_the_swap_limit_with_it() {
        let resources = Resources { memory_limit: -1, ..Resources::default() };
        let expected = pairs(&[("memory.limit_in_bytes", "-1"), ("memory.memsw.limit_in_bytes", "-1")]);
        assert_eq!(written(&Limits { resources, ..Limits::default() }), expected);
    }

    #[test]
    fn devices_are_denied_first_and_no_rule_becomes_all() {
        let rules = vec![
            DeviceRule { kind: DeviceKind::Char, major: Some(1), minor: Some(3), access: Access::ALL },
            DeviceRule { kind: DeviceKind::All, major: None, minor: None, access: Access::MKNOD },
        ];
        let expected = pairs(&[
            ("devices.deny", "a"),
            ("devices.allow", "c 1:3 rwm"),
            ("devices.allow", "b *:* m"),
            ("devices.allow", "c *:* m"),
        ]);
        assert_eq!(written(&Limits { devices: Some(rules), ..Limits::default() }), expected);
        assert_eq!(plan(&Limits { devices: Some(vec![DeviceRule::ALL]), ..Limits::default() }), []);
    }
}
