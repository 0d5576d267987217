//! From limits to v2's files.

use super::weight;
use crate::{
    runtime::cgroup::{Limits, setting::Setting},
    types::Resources,
};

/// Length of a CFS period where none is given, µs.
const DEFAULT_PERIOD: i64 = 100_000;

/// The values to write, in order: raw ones last, so that they win.
pub(super) fn plan(limits: &Limits) -> Vec<Setting> {
    let mut settings = Vec::new();
    cpu(&limits.resources, &mut settings);
    memory(&limits.resources, &mut settings);
    let lists = [("cpuset.cpus", &limits.resources.cpuset_cpus), ("cpuset.mems", &limits.resources.cpuset_mems)];
    settings.extend(lists.iter().filter(|(_, list)| !list.is_empty()).map(|(file, list)| Setting::new(*file, list)));
    for hugepages in &limits.resources.hugepage_limits {
        let (size, limit) = (&hugepages.page_size, hugepages.limit);
        // Without the controller huge pages can still be had, but a limit of 0 is what kubelet sends for every size.
        settings.push(Setting::new(format!("hugetlb.{size}.max"), limit).optional_if(limit == 0));
        // Reservations are counted apart since kernel 5.7.
        settings.push(Setting::new(format!("hugetlb.{size}.rsvd.max"), limit).optional_if(true));
    }
    settings.extend(limits.pids.map(|pids| bound("pids.max", pids)));
    for (file, value) in &limits.resources.unified {
        // A file such as `io.max` takes one line a write.
        settings.extend(value.lines().map(|line| Setting::new(file.clone(), line)));
    }
    settings
}

/// A bound whose −1 is the kernel's `max`, its default.
fn bound(file: &'static str, value: i64) -> Setting {
    match value {
        -1 => Setting::new(file, "max").optional_if(true),
        value => Setting::new(file, value),
    }
}

fn cpu(resources: &Resources, settings: &mut Vec<Setting>) {
    if resources.cpu_shares != 0 {
        settings.push(Setting::new("cpu.weight", weight::from_shares(resources.cpu_shares)));
    }
    // A period alone says nothing: kubelet sends it for containers without a quota as well.
    if resources.cpu_quota != 0 {
        let period = if resources.cpu_period == 0 { DEFAULT_PERIOD } else { resources.cpu_period };
        settings.push(match resources.cpu_quota {
            -1 => Setting::new("cpu.max", format!("max {period}")).optional_if(true),
            quota => Setting::new("cpu.max", format!("{quota} {period}")),
        });
    }
}

fn memory(resources: &Resources, settings: &mut Vec<Setting>) {
    let Resources { memory_limit, memory_swap_limit, .. } = *resources;
    if memory_limit != 0 {
        settings.push(bound("memory.max", memory_limit));
    }
    match memory_swap_limit {
        0 => {}
        -1 => settings.push(bound("memory.swap.max", -1)),
        // Without swap accounting (`swapaccount=0`, or no swap in the kernel) there is nothing to keep from swapping.
        total => {
            settings.push(Setting::new("memory.swap.max", total - memory_limit).optional_if(total == memory_limit))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::HugepageLimit;

    fn written(limits: &Limits) -> Vec<(String, String)> {
        plan(limits).into_iter().map(|setting| (setting.file.into_owned(), setting.value)).collect()
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(file, value)| ((*file).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn nothing_asked_for_writes_nothing() {
        assert_eq!(plan(&Limits::default()), []);
        let period = Resources { cpu_period: 100_000, ..Resources::default() };
        assert_eq!(plan(&Limits { resources: period, ..Limits::default() }), []);
    }

    #[test]
    fn every_limit_has_its_file_and_raw_values_come_last() {
        let resources = Resources {
            cpu_shares: 1024,
            cpu_quota: 50_000,
            memory_limit: 1 << 20,
            memory_swap_limit: 3 << 20,
            cpuset_mems: "0".into(),
            hugepage_limits: vec![HugepageLimit { page_size: "2MB".into(), limit: 4 }],
            unified: [("io.max".to_owned(), "8:0 rbps=1\n8:16 wbps=2".to_owned())].into(),
            ..Resources::default()
        };
        let expected = pairs(&[
            ("cpu.weight", "100"),
            ("cpu.max", "50000 100000"),
            ("memory.max", "1048576"),
            ("memory.swap.max", "2097152"),
            ("cpuset.mems", "0"),
            ("hugetlb.2MB.max", "4"),
            ("hugetlb.2MB.rsvd.max", "4"),
            ("pids.max", "max"),
            ("io.max", "8:0 rbps=1"),
            ("io.max", "8:16 wbps=2"),
        ]);
        assert_eq!(written(&Limits { resources, pids: Some(-1), devices: None }), expected);
    }

    #[test]
    fn no_limit_is_max() {
        let resources = Resources {
            cpu_quota: -1,
            cpu_period: 20_000,
            memory_limit: -1,
            memory_swap_limit: -1,
            ..Resources::default()
        };
        let expected = pairs(&[("cpu.max", "max 20000"), ("memory.max", "max"), ("memory.swap.max", "max")]);
        assert_eq!(written(&Limits { resources, ..Limits::default() }), expected);
    }
}
