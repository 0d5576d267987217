//! What the kernel can do.

use std::{fs, path::Path};

use super::Finding;
use crate::runtime::plan::HostFacts;

/// The oldest kernel with all that is used without an alternative (`mount_setattr(2)`).
const OLDEST: (u32, u32) = (5, 12);
/// The oldest kernel with idmapped mounts of overlay's lower layers, for pods with user namespaces.
const USER_NAMESPACES: (u32, u32) = (5, 19);

/// File systems that containers are made of.
const FILE_SYSTEMS: &[&str] = &["overlay", "tmpfs", "proc", "sysfs", "devpts", "mqueue"];
const NAMESPACES: &[&str] = &["cgroup", "ipc", "mnt", "net", "pid", "uts"];

pub(super) fn examine(host: &HostFacts) -> Vec<Finding> {
    vec![version(host), file_systems(), namespaces(), user_namespaces(), seccomp(), security_modules(host)]
}

fn version(host: &HostFacts) -> Finding {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    match host.kernel {
        version if version < OLDEST => {
            let (major, minor) = OLDEST;
            Finding::error("kernel", format!("{release} is too old"), format!("boot {major}.{minor} or newer"))
        }
        version if version < USER_NAMESPACES => {
            let (major, minor) = USER_NAMESPACES;
            let advice = format!("boot {major}.{minor} or newer");
            Finding::warning("kernel", format!("{release}: pods cannot have user namespaces"), advice)
        }
        _ => Finding::ok("kernel", release),
    }
}

fn file_systems() -> Finding {
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let known: Vec<&str> = known.split_whitespace().collect();
    let missing: Vec<&str> = FILE_SYSTEMS.iter().copied().filter(|name| !known.contains(name)).collect();
    if missing.is_empty() {
        return Finding::ok("file systems", FILE_SYSTEMS.join(", "));
    }
    let advice = format!("load them, now and at boot: modprobe {}", missing.join(" "));
    Finding::error("file systems", format!("the kernel has no {}", missing.join(", ")), advice)
}

fn namespaces() -> Finding {
    let missing: Vec<&str> =
        NAMESPACES.iter().copied().filter(|name| !Path::new("/proc/self/ns").join(name).exists()).collect();
    if missing.is_empty() {
        return Finding::ok("namespaces", NAMESPACES.join(", "));
    }
    let found = format!("the kernel has no {} namespaces", missing.join(", "));
    Finding::error("namespaces", found, "use a kernel that was built with them")
}

fn user_namespaces() -> Finding {
    let most = fs::read_to_string("/proc/sys/user/max_user_namespaces").unwrap_or_default();
    match most.trim().parse::<u64>() {
        Ok(0) => {
            let advice = "sysctl user.max_user_namespaces=15000, also in /etc/sysctl.d";
            Finding::warning("user namespaces", "switched off: no pod can have one", advice)
        }
        Ok(most) => Finding::ok("user namespaces", format!("as many as {most}")),
        Err(_) => Finding::warning("user namespaces", "the kernel has none", "use a kernel that was built with them"),
    }
}

fn seccomp() -> Finding {
    let actions = fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").unwrap_or_default();
    if actions.split_whitespace().any(|action| action == "errno") {
        return Finding::ok("seccomp", "filters are applied");
    }
    let found = "the kernel has no filters: containers that ask for one do not start";
    Finding::error("seccomp", found, "use a kernel with CONFIG_SECCOMP_FILTER")
}

fn security_modules(host: &HostFacts) -> Finding {
    let on = [("AppArmor", host.apparmor), ("SELinux", host.selinux)];
    let on: Vec<&str> = on.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect();
    match on.as_slice() {
        [] => Finding::ok("security modules", "neither AppArmor nor SELinux is on"),
        names => Finding::ok("security modules", names.join(", ")),
    }
}
