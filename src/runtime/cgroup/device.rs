//! Device rules, OCI runtime-spec "config-linux.md", section "Allowed Device list".

use serde::{Deserialize, Serialize};

/// Lets a cgroup's processes use some devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRule {
    /// Which kind of device.
    pub kind: DeviceKind,
    /// Major number; `None` for all.
    pub major: Option<u32>,
    /// Minor number; `None` for all.
    pub minor: Option<u32>,
    /// What may be done with it.
    pub access: Access,
}

/// Kind of device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceKind {
    /// Both.
    All,
    /// Character device.
    Char,
    /// Block device.
    Block,
}

/// What may be done with a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// Open for reading.
    pub read: bool,
    /// Open for writing.
    pub write: bool,
    /// Make nodes of it.
    pub mknod: bool,
}

impl Access {
    /// All three.
    pub const ALL: Self = Self { read: true, write: true, mknod: true };

    /// From a string of `r`, `w` and `m`; `None` for any other letter or none at all.
    pub fn parse(text: &str) -> Option<Self> {
        let _ = text;
        todo!()
    }
}

impl DeviceRule {
    /// Everything, for privileged containers.
    pub const ALL: Self = Self { kind: DeviceKind::All, major: None, minor: None, access: Access::ALL };

    /// What every container may use: its own `/dev`, and making nodes of anything.
    pub fn defaults() -> Vec<Self> {
        todo!()
    }
}
