//! Capability sets, `capabilities(7)`.

use serde::{Deserialize, Serialize};

use super::HostFacts;
use crate::{runtime::error::PlanError, types::ContainerSecurity};

/// Names by number, without `CAP_`.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What a container has without asking, the same 14 as in the other engines.
const DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// A set of capabilities: bit N is the capability of that number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapabilitySet(pub u64);

impl CapabilitySet {
    /// What containers have without asking.
    pub fn defaults() -> Self {
        Self(DEFAULT.iter().filter_map(|name| number(name)).fold(0, |set, bit| set | 1 << bit))
    }

    /// Whether the capability of that number is in it.
    pub const fn contains(self, number: u32) -> bool {
        self.0 >> number & 1 == 1
    }

    /// The names of those that are in it, without `CAP_`.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        (0..).zip(NAMES).filter(move |(number, _)| self.contains(*number)).map(|(_, name)| name)
    }
}

/// The capabilities of a container's processes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Capabilities {
    /// Bounding, permitted and effective set. The inheritable one stays empty but for the ambient ones
    /// (CVE-2022-24769).
    pub granted: CapabilitySet,
    /// Kept across `execve` also by users other than root.
    pub ambient: CapabilitySet,
}

/// Decides a container's capabilities.
///
/// # Errors
/// Names that no kernel knows.
pub(super) fn plan(security: &ContainerSecurity, host: &HostFacts) -> Result<Capabilities, PlanError> {
    let add = parse(&security.add_capabilities)?;
    let drop = parse(&security.drop_capabilities)?;
    let ambient = parse(&security.ambient_capabilities)?;
    if security.privileged {
        return Ok(Capabilities { granted: host.capabilities, ambient: CapabilitySet(0) });
    }
    // `ALL` goes first on both sides, so that single names refine it: "drop ALL, add NET_ADMIN" leaves one.
    let mut set = CapabilitySet::defaults().0;
    if add.all {
        set = u64::MAX;
    }
    if drop.all {
        set = 0;
    }
    set = (set | add.named | ambient.named) & !drop.named;
    let granted = set & host.capabilities.0;
    Ok(Capabilities { granted: CapabilitySet(granted), ambient: CapabilitySet(ambient.named & granted) })
}

struct Parsed {
    all: bool,
    named: u64,
}

fn parse(names: &[String]) -> Result<Parsed, PlanError> {
    let mut parsed = Parsed { all: false, named: 0 };
    for name in names {
        if name.eq_ignore_ascii_case("ALL") {
            parsed.all = true;
        } else {
            let number = number(name).ok_or_else(|| PlanError::UnknownCapability(name.clone()))?;
            parsed.named |= 1 << number;
        }
    }
    Ok(parsed)
}

/// The number of `NET_ADMIN` or `cap_net_admin`.
fn number(name: &str) -> Option<usize> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    NAMES.iter().position(|known| *known == bare)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::plan::host::tests::facts;

    fn names(set: CapabilitySet) -> Vec<&'static str> {
        set.names().collect()
    }

    fn planned(add: &[&str], drop: &[&str]) -> Vec<&'static str> {
        let own = |list: &[&str]| list.iter().map(|&name| name.to_owned()).collect();
        let security =
            ContainerSecurity { add_capabilities: own(add), drop_capabilities: own(drop), ..Default::default() };
        names(plan(&security, &facts()).expect("planned").granted)
    }

    #[test]
    fn single_names_refine_all() {
        assert_eq!(planned(&[], &[]).len(), 14);
        assert_eq!(planned(&["NET_ADMIN"], &["ALL"]), ["NET_ADMIN"]);
        assert_eq!(planned(&[], &["ALL"]), [""; 0]);
        let all_but_one = planned(&["ALL"], &["cap_sys_admin"]);
        assert!(!all_but_one.contains(&"SYS_ADMIN") && all_but_one.contains(&"SYS_PTRACE"));
        assert!(!planned(&[], &["NET_RAW"]).contains(&"NET_RAW"));
    }

    #[test]
    fn nothing_is_given_that_we_do_not_have() {
        assert!(!planned(&["ALL"], &[]).contains(&"SYS_RESOURCE"), "the test host lacks it");
        let privileged = ContainerSecurity { privileged: true, ..Default::default() };
        assert_eq!(plan(&privileged, &facts()).expect("planned").granted, facts().capabilities);
    }

    #[test]
    fn ambient_ones_are_granted_too() {
        let security = ContainerSecurity { ambient_capabilities: vec!["NET_ADMIN".to_owned()], ..Default::default() };
        let plan = plan(&security, &facts()).expect("planned");
        assert_eq!(names(plan.ambient), ["NET_ADMIN"]);
        assert!(names(plan.granted).contains(&"NET_ADMIN"));
    }

    #[test]
    fn unknown_names_are_refused() {
        let security = ContainerSecurity { drop_capabilities: vec!["NET_EVERYTHING".to_owned()], ..Default::default() };
        assert!(
            matches!(plan(&security, &facts()), Err(PlanError::UnknownCapability(name)) if name == "NET_EVERYTHING")
        );
    }
}
