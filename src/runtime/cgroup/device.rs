//! Device rules, OCI runtime-spec "config-linux.md", sections "Allowed Device list" and "Default Devices".

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
    /// Only making nodes.
    pub const MKNOD: Self = Self { read: false, write: false, mknod: true };

    /// From a string of `r`, `w` and `m`; `None` for any other letter or none at all.
    pub fn parse(text: &str) -> Option<Self> {
        if text.is_empty() || text.contains(|letter| !matches!(letter, 'r' | 'w' | 'm')) {
            return None;
        }
        Some(Self { read: text.contains('r'), write: text.contains('w'), mknod: text.contains('m') })
    }

    /// As a string of `r`, `w` and `m`.
    pub(super) fn letters(self) -> String {
        [(self.read, 'r'), (self.write, 'w'), (self.mknod, 'm')]
            .into_iter()
            .filter_map(|(set, letter)| set.then_some(letter))
            .collect()
    }
}

/// Major number of `/dev/null`, `zero`, `full`, `random` and `urandom`.
const MEM: u32 = 1;
/// Major number of `/dev/tty`, `console` and `ptmx`.
const TTY: u32 = 5;
/// First of the major numbers of the slaves of pseudo-terminals; with 256 minors each, eight of them
/// (`Documentation/admin-guide/devices.txt`), of which the kernel today uses the first.
const PTS: u32 = 136;

impl DeviceRule {
    /// Everything, for privileged containers.
    pub const ALL: Self = Self { kind: DeviceKind::All, major: None, minor: None, access: Access::ALL };

    /// What every container may use: its own `/dev`, and making nodes of anything.
    pub fn defaults() -> Vec<Self> {
        let mknod = |kind| Self { kind, major: None, minor: None, access: Access::MKNOD };
        let device = |major, minor| Self { kind: DeviceKind::Char, major: Some(major), minor, access: Access::ALL };
        vec![
            mknod(DeviceKind::Char),
            mknod(DeviceKind::Block),
            device(MEM, Some(3)), // null
            device(MEM, Some(5)), // zero
            device(MEM, Some(7)), // full
            device(MEM, Some(8)), // random
            device(MEM, Some(9)), // urandom
            device(TTY, Some(0)), // tty
            device(TTY, Some(2)), // ptmx
            device(PTS, None),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_are_read_and_shown() {
        assert_eq!(Access::parse("rwm"), Some(Access::ALL));
        assert_eq!(Access::parse("m"), Some(Access::MKNOD));
        assert_eq!(Access::parse("wr").map(Access::letters).as_deref(), Some("rw"));
        for bad in ["", "x", "rwx", "R"] {
            assert_eq!(Access::parse(bad), None, "{bad:?} was taken");
        }
    }
}
