//! What a test needs of the machine, and the record of tests that did not run for want of it.

use std::{io::Write as _, path::Path, process::Command};

/// Something that a machine may lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Requirement {
    /// Being root.
    Root,
    /// cgroup v2 with its controllers.
    CgroupV2,
    /// cgroup v1 with its controllers.
    CgroupV1,
    /// Debian's `docker-registry`.
    DockerRegistry,
    /// Apache's `htpasswd`, for registries with passwords.
    Htpasswd,
    /// `skopeo`, which reads image archives as other tools do.
    Skopeo,
    /// `openssl`, which makes keys and signatures.
    Openssl,
    /// The kernel's AppArmor.
    AppArmor,
    /// AppArmor's `apparmor_parser`, which loads profiles.
    AppArmorParser,
    /// The kernel's SCTP.
    Sctp,
    /// Debian's `containernetworking-plugins`.
    CniPlugins,
    /// A clock that nobody else goes by, said by `BERTH_TEST_OWN_CLOCK`: the emulated machine's.
    OwnClock,
    /// File systems in user space.
    Fuse,
    /// `criu` that works on this kernel.
    Criu,
    /// ext4 with quotas of projects, on a loop device.
    ProjectQuotas,
    /// `iptables` that can list rules here; the portmap plugin uses it.
    Iptables,
}

impl Requirement {
    fn is_met(self) -> bool {
        let file = |path: &str| Path::new(path).exists();
        match self {
            Self::Root => nix::unistd::geteuid().is_root(),
            Self::CgroupV2 => file("/sys/fs/cgroup/cgroup.controllers"),
            Self::CgroupV1 => {
                file("/sys/fs/cgroup/memory/memory.limit_in_bytes") || file("/sys/fs/cgroup/memory/cgroup.procs")
            }
            Self::DockerRegistry => runs("docker-registry", "--version"),
            // Without arguments it says how it is used, and fails.
            Self::Htpasswd => Command::new("htpasswd").output().is_ok(),
            Self::Skopeo => runs("skopeo", "--version"),
            Self::Openssl => runs("openssl", "version"),
            Self::AppArmor => std::fs::read_to_string("/sys/module/apparmor/parameters/enabled")
                .is_ok_and(|text| text.starts_with('Y')),
            Self::AppArmorParser => runs("apparmor_parser", "--version"),
            Self::Sctp => nix::sys::socket::socket(
                nix::sys::socket::AddressFamily::Inet,
                nix::sys::socket::SockType::Stream,
                nix::sys::socket::SockFlag::empty(),
                nix::sys::socket::SockProtocol::Sctp,
            )
            .is_ok(),
            Self::CniPlugins => ["bridge", "host-local", "portmap", "tuning"]
                .iter()
                .all(|plugin| file(&format!("/usr/lib/cni/{plugin}"))),
            Self::OwnClock => std::env::var_os("BERTH_TEST_OWN_CLOCK").is_some(),
            Self::Fuse => std::fs::File::open("/dev/fuse").is_ok(),
            Self::Criu => runs("criu", "check"),
            Self::ProjectQuotas => mounts_with_project_quotas(),
            Self::Iptables => runs("iptables", "--list-rules"),
        }
    }
}

fn runs(program: &str, argument: &str) -> bool {
    Command::new(program).arg(argument).output().is_ok_and(|output| output.status.success())
}

/// Tries it out, in a mount namespace that goes with the shell.
fn mounts_with_project_quotas() -> bool {
    const SCRIPT: &str = "set -e; dir=$(mktemp -d); trap 'rm -r $dir' EXIT; truncate -s 16M $dir/image; \
                          mkfs.ext4 -q -O quota,project $dir/image; mkdir $dir/on; \
                          mount -o loop,prjquota $dir/image $dir/on; umount $dir/on";
    let output = Command::new("unshare").args(["--mount", "sh", "-c", SCRIPT]).output();
    output.is_ok_and(|output| output.status.success())
}

/// Whether the machine has all of that. If it has not, the test is recorded as skipped.
pub(crate) fn check(test: &str, requirements: &[Requirement]) -> bool {
    let Some(missing) = requirements.iter().find(|requirement| !requirement.is_met()) else { return true };
    assert!(std::env::var_os("BERTH_TEST_STRICT").is_none(), "{test} needs {missing:?}, and skipping is forbidden");
    // Not `eprint`, which the test harness swallows for tests that pass. hack/test collects these lines.
    let _ = std::io::stderr().write_all(format!("skipped {test}: needs {missing:?}\n").as_bytes());
    false
}

/// Ends the test, recorded as skipped, unless the machine has all that is named: `requires!(Root, CgroupV2)`.
macro_rules! requires {
    ($($requirement:ident),+) => {
        let name = std::thread::current().name().unwrap_or("a test").to_owned();
        if !$crate::support::check(&name, &[$($crate::support::Requirement::$requirement),+]) {
            return;
        }
    };
}
