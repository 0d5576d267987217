//! Reading back the limits of a v1 cgroup.

use std::path::Path;

use super::Layout;
use crate::{
    runtime::cgroup::{Error, file},
    types::Resources,
};

/// Limits from here on are none: the kernel shows the greatest multiple of the page size.
const UNLIMITED: i64 = 1 << 62;

/// Reads them; −1 is no limit, and what the host lacks stays unset.
pub(super) fn read(layout: &Layout, path: &Path) -> Result<Resources, Error> {
    let text = |controller: &str, name: &str| match layout.directory(controller, path) {
        Some(directory) => file::read_if_present(&directory.join(name)),
        None => Ok(None),
    };
    let number = |controller: &str, name: &str| -> Result<i64, Error> {
        Ok(text(controller, name)?.and_then(|text| text.trim().parse().ok()).unwrap_or(0))
    };
    let bytes = |name: &str| number("memory", name).map(|bytes| if bytes >= UNLIMITED { -1 } else { bytes });
    let list = |name: &str| Ok::<_, Error>(text("cpuset", name)?.unwrap_or_default().trim().to_owned());
    Ok(Resources {
        cpu_period: number("cpu", "cpu.cfs_period_us")?,
        cpu_quota: number("cpu", "cpu.cfs_quota_us")?,
        cpu_shares: number("cpu", "cpu.shares")?,
        memory_limit: bytes("memory.limit_in_bytes")?,
        memory_swap_limit: bytes("memory.memsw.limit_in_bytes")?,
        cpuset_cpus: list("cpuset.cpus")?,
        cpuset_mems: list("cpuset.mems")?,
        ..Resources::default()
    })
}
