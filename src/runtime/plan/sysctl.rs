//! Kernel parameters of a pod.

use std::collections::BTreeMap;

use crate::runtime::error::PlanError;

/// IPC parameters outside `fs.mqueue.` that belong to an IPC namespace, `ipc_namespaces(7)`.
const IPC: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// Checks the wanted parameters against the pod's own namespaces and adds the defaults: unprivileged programs may
/// listen on low ports and send pings, as they may in pods of the other engines.
pub(super) fn plan(
    wanted: &BTreeMap<String, String>,
    net: bool,
    ipc: bool,
    uts: bool,
    user: bool,
) -> Result<BTreeMap<String, String>, PlanError> {
    let mut sysctls = BTreeMap::new();
    if net {
        sysctls.insert("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned());
        if !user {
            // In a user namespace the range would name groups that are not mapped, and the kernel refuses it.
            sysctls.insert("net.ipv4.ping_group_range".to_owned(), "0 2147483647".to_owned());
        }
    }
    for (key, value) in wanted {
        let name = normalize(key)?;
        let owned = if name.starts_with("net.") {
            net
        } else if name.starts_with("fs.mqueue.") || IPC.contains(&name.as_str()) {
            ipc
        } else if name == "kernel.domainname" {
            uts
        } else {
            // Everything else is the node's (or the host name, which has a field of its own).
            false
        };
        if !owned {
            return Err(PlanError::SysctlNotNamespaced(key.clone()));
        }
        if value.contains(['\0', '\n']) {
            return Err(PlanError::InvalidSysctl(key.clone()));
        }
        sysctls.insert(name, value.clone());
    }
    Ok(sysctls)
}

/// Brings `net/ipv4/conf/eth0.1/x` and `net.ipv4.conf.eth0/1.x` to the second form, `sysctl(8)`: whichever separator
/// comes first is the separator, the other one is an ordinary character written as its opposite.
fn normalize(key: &str) -> Result<String, PlanError> {
    let name = match key.find(['.', '/']) {
        Some(at) if key.as_bytes()[at] == b'/' => key
            .chars()
            .map(|c| {
                if c == '/' {
                    '.'
                } else if c == '.' {
                    '/'
                } else {
                    c
                }
            })
            .collect(),
        _ => key.to_owned(),
    };
    // The parts become path components below /proc/sys.
    let component = |part: &str| !part.is_empty() && part != "/" && part != "//" && !part.contains('\0');
    if name.len() > 256 || !name.contains('.') || !name.split('.').all(component) {
        return Err(PlanError::InvalidSysctl(key.to_owned()));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(key: &str, value: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(key.to_owned(), value.to_owned())])
    }

    #[test]
    fn both_separators_name_the_same_parameter() {
        for key in ["net.ipv4.conf.eth0/1.mtu", "net/ipv4/conf/eth0.1/mtu"] {
            let plan = plan(&one(key, "1"), true, true, true, true).expect(key);
            assert_eq!(plan.get("net.ipv4.conf.eth0/1.mtu").map(String::as_str), Some("1"), "{key}");
        }
    }

    #[test]
    fn parameters_need_their_own_namespace() {
        for (key, net, ipc) in [
            ("net.ipv4.ip_forward", true, false),
            ("kernel.shm_rmid_forced", false, true),
            ("fs.mqueue.msg_max", false, true),
        ] {
            assert!(plan(&one(key, "1"), net, ipc, true, false).is_ok(), "{key}");
            assert!(plan(&one(key, "1"), !net, !ipc, true, false).is_err(), "{key} without its namespace");
        }
        for key in ["vm.swappiness", "kernel.panic", "kernel.hostname", "fs.file-max"] {
            assert!(plan(&one(key, "1"), true, true, true, false).is_err(), "{key}");
        }
    }

    #[test]
    fn no_key_leaves_proc_sys() {
        for key in ["", "net", "net.", "net..x", "net/../../etc/passwd", "net.//.x", "net.x\0"] {
            assert!(plan(&one(key, "1"), true, true, true, false).is_err(), "{key:?}");
        }
    }

    #[test]
    fn defaults_yield_to_what_is_asked_for() {
        let key = "net.ipv4.ip_unprivileged_port_start";
        assert_eq!(plan(&one(key, "1024"), true, false, true, false).expect("planned")[key], "1024");
        assert!(plan(&BTreeMap::new(), false, true, false, false).expect("planned").is_empty());
    }
}
