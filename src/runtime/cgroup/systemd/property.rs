//! From limits to properties of a unit, `systemd.resource-control(5)`.
//!
//! They only keep systemd from undoing limits when it reloads: the exact values are written to the cgroup's files as
//! with the other driver. So what systemd cannot say (CPU lists on older versions, raw values) is left out.

use super::message::Value;
use crate::runtime::cgroup::{DeviceKind, DeviceRule, Limits, Version, v2};

/// No limit.
const INFINITY: u64 = u64::MAX;
/// Length of a CFS period where none is given, µs.
const DEFAULT_PERIOD: i64 = 100_000;
/// systemd keeps quotas in whole percents of a CPU: so many µs a second.
const PERCENT: u64 = 10_000;

/// The properties for the limits that are set.
pub(super) fn plan(limits: &Limits, version: Version) -> Vec<(&'static str, Value)> {
    let resources = &limits.resources;
    let mut properties = Vec::new();
    if let Ok(shares @ 1..) = u64::try_from(resources.cpu_shares) {
        properties.push(match version {
            Version::V1 => ("CPUShares", Value::Number(shares.clamp(2, 262_144))),
            Version::V2 => ("CPUWeight", Value::Number(v2::from_shares(resources.cpu_shares).unsigned_abs())),
        });
    }
    if resources.cpu_quota != 0 {
        let rate = quota_per_second(resources.cpu_quota, resources.cpu_period);
        properties.push(("CPUQuotaPerSecUSec", Value::Number(rate)));
    }
    if resources.memory_limit != 0 {
        let name = if version == Version::V1 { "MemoryLimit" } else { "MemoryMax" };
        properties.push((name, Value::Number(bound(resources.memory_limit))));
    }
    if resources.memory_swap_limit != 0 && version == Version::V2 {
        let swap = match resources.memory_swap_limit {
            -1 => -1,
            total => total - resources.memory_limit,
        };
        properties.push(("MemorySwapMax", Value::Number(bound(swap))));
    }
    if let Some(pids) = limits.pids {
        properties.push(("TasksMax", Value::Number(bound(pids))));
    }
    // On v2 systemd leaves programs alone that it did not attach; on v1 it resets the files to its own rules.
    if let (Version::V1, Some(rules)) = (version, &limits.devices) {
        let names = std::fs::read_to_string("/proc/devices").unwrap_or_default();
        properties.extend(devices(rules, &names));
    }
    properties
}

fn bound(limit: i64) -> u64 {
    u64::try_from(limit).unwrap_or(INFINITY)
}

/// CPU time in a second, µs, rounded up to what systemd can keep.
fn quota_per_second(quota: i64, period: i64) -> u64 {
    let Ok(quota) = u64::try_from(quota) else { return INFINITY };
    let period = if period == 0 { DEFAULT_PERIOD } else { period }.unsigned_abs();
    (quota.saturating_mul(1_000_000) / period).next_multiple_of(PERCENT)
}

/// `DeviceAllow`, with `names` as in `/proc/devices`.
fn devices(rules: &[DeviceRule], names: &str) -> Vec<(&'static str, Value)> {
    if rules.contains(&DeviceRule::ALL) {
        return Vec::new();
    }
    let mut allowed = Vec::new();
    for rule in rules {
        let kinds: &[(&str, &str)] = match rule.kind {
            DeviceKind::All => &[("char", "Character"), ("block", "Block")],
            DeviceKind::Char => &[("char", "Character")],
            DeviceKind::Block => &[("block", "Block")],
        };
        for (kind, section) in kinds {
            let device = match (rule.major, rule.minor) {
                (Some(major), Some(minor)) => Some(format!("/dev/{kind}/{major}:{minor}")),
                (Some(major), None) => driver(names, section, major).map(|name| format!("{kind}-{name}")),
                (None, _) => Some(format!("{kind}-*")),
            };
            allowed.extend(device.map(|device| (device, rule.access.letters())));
        }
    }
    vec![("DevicePolicy", Value::Text("strict".into())), ("DeviceAllow", Value::Pairs(allowed))]
}

/// The driver of a major number.
fn driver<'a>(names: &'a str, section: &str, major: u32) -> Option<&'a str> {
    let lines = names.lines().skip_while(|line| !line.starts_with(section)).skip(1);
    lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.trim().split_once(' '))
        .find_map(|(number, name)| (number.parse() == Ok(major)).then_some(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{runtime::cgroup::Access, types::Resources};

    fn limits() -> Limits {
        let resources = Resources {
            cpu_shares: 1024,
            cpu_quota: 25_500,
            cpu_period: 100_000,
            memory_limit: 1 << 20,
            memory_swap_limit: 3 << 20,
            ..Resources::default()
        };
        Limits { resources, pids: Some(-1), devices: None }
    }

    #[test]
    fn each_version_has_its_properties() {
        let numbers = |version| -> Vec<(&str, u64)> {
            let number = |(name, value)| match value {
                Value::Number(number) => (name, number),
                other => panic!("{name} is {other:?}"),
            };
            plan(&limits(), version).into_iter().map(number).collect()
        };
        let v2 = [
            ("CPUWeight", 100),
            ("CPUQuotaPerSecUSec", 260_000),
            ("MemoryMax", 1 << 20),
            ("MemorySwapMax", 2 << 20),
            ("TasksMax", INFINITY),
        ];
        assert_eq!(numbers(Version::V2), v2);
        let v1 =
            [("CPUShares", 1024), ("CPUQuotaPerSecUSec", 260_000), ("MemoryLimit", 1 << 20), ("TasksMax", INFINITY)];
        assert_eq!(numbers(Version::V1), v1);
        assert_eq!(plan(&Limits::default(), Version::V2), []);
    }

    #[test]
    fn no_quota_is_infinite() {
        assert_eq!(quota_per_second(-1, 0), INFINITY);
        assert_eq!(quota_per_second(50_000, 0), 500_000);
    }

    #[test]
    fn devices_are_named_by_their_driver() {
        let names = "Character devices:\n  1 mem\n136 pts\n\nBlock devices:\n136 other\n";
        let rules = [
            DeviceRule { kind: DeviceKind::Char, major: Some(1), minor: Some(3), access: Access::ALL },
            DeviceRule { kind: DeviceKind::Char, major: Some(136), minor: None, access: Access::ALL },
            DeviceRule { kind: DeviceKind::All, major: None, minor: None, access: Access::MKNOD },
            DeviceRule { kind: DeviceKind::Char, major: Some(77), minor: None, access: Access::ALL },
        ];
        let pair = |device: &str, access: &str| (device.to_owned(), access.to_owned());
        let allowed =
            vec![pair("/dev/char/1:3", "rwm"), pair("char-pts", "rwm"), pair("char-*", "m"), pair("block-*", "m")];
        let expected = [("DevicePolicy", Value::Text("strict".into())), ("DeviceAllow", Value::Pairs(allowed))];
        assert_eq!(devices(&rules, names), expected);
        assert_eq!(devices(&[DeviceRule::ALL], names), []);
    }
}
