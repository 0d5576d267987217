//! The cgroup hierarchy and who keeps it.

use std::{fs, path::Path};

use super::Finding;
use crate::runtime::{
    cgroup::{Driver, Version},
    plan::HostFacts,
};

/// Controllers without which limits and statistics of every pod are missing.
const NEEDED: &[&str] = &["cpu", "cpuset", "memory", "pids"];
/// v1 gives these hierarchies of their own; v2 has them built in.
const NEEDED_V1: &[&str] = &["cpuacct", "devices", "freezer"];
/// What only some pods ask for.
const WANTED: &[&str] = &["hugetlb"];

pub(super) fn examine(host: &HostFacts, driver: Driver) -> Vec<Finding> {
    vec![controllers(host), keeper(driver)]
}

fn controllers(host: &HostFacts) -> Finding {
    let (name, present) = match host.cgroup {
        Version::V1 => ("v1", host.hierarchies.join(",")),
        Version::V2 => ("v2", fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default()),
    };
    let present: Vec<&str> = present.split([',', ' ', '\n']).collect();
    let missing = |wanted: &[&'static str]| -> Vec<&'static str> {
        wanted.iter().copied().filter(|controller| !present.contains(controller)).collect()
    };
    let needed = match host.cgroup {
        Version::V1 => [NEEDED, NEEDED_V1].concat(),
        Version::V2 => NEEDED.to_vec(),
    };
    match (missing(&needed).as_slice(), missing(WANTED).as_slice()) {
        ([], []) if host.cgroup == Version::V1 => {
            let found = "v1, with all controllers: kubelet 1.35 and newer refuses it by default";
            Finding::warning("cgroups", found, "boot with systemd.unified_cgroup_hierarchy=1")
        }
        ([], []) => Finding::ok("cgroups", format!("{name}, with all controllers")),
        ([], wanted) => Finding::warning(
            "cgroups",
            format!("{name}, without {}: limits of that kind are refused", wanted.join(", ")),
            "switch the controllers on (kernel command line, cgroup.subtree_control)",
        ),
        (missing, _) => Finding::error(
            "cgroups",
            format!("{name}, without {}", missing.join(", ")),
            "switch the controllers on (kernel command line, cgroup.subtree_control)",
        ),
    }
}

fn keeper(driver: Driver) -> Finding {
    let systemd = Path::new("/run/systemd/system").exists();
    match (driver, systemd) {
        (Driver::Systemd, true) => Finding::ok("cgroup driver", "systemd"),
        (Driver::Systemd, false) => {
            let advice = "set cgroup.driver = \"cgroupfs\"";
            Finding::error("cgroup driver", "systemd is to keep cgroups, but is not the init", advice)
        }
        (Driver::Cgroupfs, true) => {
            let advice = "set cgroup.driver = \"systemd\" here and cgroupDriver: systemd in kubelet's configuration";
            Finding::warning("cgroup driver", "cgroupfs beside systemd: two keep the same hierarchy", advice)
        }
        (Driver::Cgroupfs, false) => Finding::ok("cgroup driver", "cgroupfs"),
    }
}
