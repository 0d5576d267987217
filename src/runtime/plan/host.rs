//! What plans need to know about the host.

use std::{fs, io, path::PathBuf};

use super::{CapabilitySet, DeviceNode, device};
use crate::runtime::{cgroup, error::PlanError, lsm};

/// Facts about the host and this process that decide how containers can be set up.
#[derive(Debug, Clone)]
pub struct HostFacts {
    /// Version of the cgroup interface.
    pub cgroup: cgroup::Version,
    /// The v1 hierarchies by their controllers, as `/proc/self/cgroup` words them (`memory`, `cpu,cpuacct`,
    /// `name=systemd`); empty on v2.
    pub hierarchies: Vec<String>,
    /// Our own bounding set: nothing beyond it can be given away.
    pub capabilities: CapabilitySet,
    /// Major and minor version of the kernel.
    pub kernel: (u32, u32),
    /// AppArmor is on.
    pub apparmor: bool,
    /// SELinux is on.
    pub selinux: bool,
    /// The node's host name.
    pub hostname: String,
    /// The directory of the host's device nodes.
    pub dev: PathBuf,
}

impl HostFacts {
    /// Finds the facts out.
    ///
    /// # Errors
    /// When a kernel file cannot be read or cgroups are not mounted.
    pub fn detect() -> Result<Self, PlanError> {
        let read = |path: &'static str| {
            fs::read_to_string(path).map_err(|source| PlanError::Host { what: path.to_owned(), source })
        };
        let hierarchy = cgroup::Hierarchy::detect().map_err(PlanError::Cgroup)?;
        let version = hierarchy.version();
        let uname = rustix::system::uname();
        Ok(Self {
            cgroup: version,
            hierarchies: match version {
                cgroup::Version::V1 => hierarchies(&read("/proc/self/cgroup")?),
                cgroup::Version::V2 => Vec::new(),
            },
            capabilities: bounding(&read("/proc/self/status")?)?,
            kernel: kernel_version(&uname.release().to_string_lossy()),
            apparmor: lsm::apparmor::enabled(),
            selinux: lsm::selinux::enabled(),
            hostname: uname.nodename().to_string_lossy().into_owned(),
            dev: PathBuf::from("/dev"),
        })
    }

    /// All devices of the host, for privileged containers.
    pub(super) fn all_devices(&self) -> Result<Vec<DeviceNode>, PlanError> {
        device::find(&self.dev, &self.dev, true)
    }
}

/// The controllers of each v1 hierarchy from lines like `4:memory:/x`.
fn hierarchies(text: &str) -> Vec<String> {
    let mut found: Vec<String> = text
        .lines()
        .filter_map(|line| line.split(':').nth(1))
        .filter(|controllers| !controllers.is_empty())
        .map(str::to_owned)
        .collect();
    found.sort_unstable();
    found
}

fn bounding(status: &str) -> Result<CapabilitySet, PlanError> {
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapBnd:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .map(CapabilitySet)
        .ok_or_else(|| PlanError::Host {
            what: "the bounding set in /proc/self/status".to_owned(),
            source: io::ErrorKind::InvalidData.into(),
        })
}

/// Major and minor of `6.18.44-fc-v595`; 0 for what is not a number.
pub(in crate::runtime) fn kernel_version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A made-up host on cgroup v1 that lacks CAP_SYS_RESOURCE.
    pub(in crate::runtime::plan) fn facts() -> HostFacts {
        HostFacts {
            cgroup: cgroup::Version::V1,
            hierarchies: vec!["cpu,cpuacct".to_owned(), "memory".to_owned()],
            capabilities: CapabilitySet(0x1ff_feff_ffff),
            kernel: (6, 18),
            apparmor: false,
            selinux: false,
            hostname: "node-1".to_owned(),
            dev: PathBuf::from("/dev"),
        }
    }

    #[test]
    fn kernel_files_are_understood() {
        assert_eq!(kernel_version("6.18.44-fc-v595"), (6, 18));
        assert_eq!(kernel_version("5.10"), (5, 10));
        assert_eq!(
            hierarchies("9:name=systemd:/\n4:memory:/a:b\n2:cpu,cpuacct:/\n0::/\n"),
            ["cpu,cpuacct", "memory", "name=systemd"]
        );
        assert_eq!(bounding("Name:\tx\nCapBnd:\t000001fffeffffff\n").expect("found").0, 0x1ff_feff_ffff);
        assert!(bounding("Name:\tx\n").is_err());
    }
}
