//! Users, capabilities and what else confines a container.

use super::*;
use crate::types::{IdMapping, Profile, UserNamespace};

/// The value of a line in `/proc/self/status`.
fn status<'a>(text: &'a str, key: &str) -> &'a str {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {key} in {text}")).trim()
}

const STATUS: &str = "cat /proc/self/status";
const DEFAULT: &str = "00000000a80425fb";
const NONE: &str = "0000000000000000";

#[test]
fn root_has_the_default_capabilities_and_other_users_none() {
    bed(|bed| {
        let (output, _) = bed.run(&own_pid(), &script(STATUS));
        for (key, value) in
            [("CapInh", NONE), ("CapPrm", DEFAULT), ("CapEff", DEFAULT), ("CapBnd", DEFAULT), ("CapAmb", NONE)]
        {
            assert_eq!(status(&output, key), value, "{key}");
        }
        assert_eq!((status(&output, "NoNewPrivs"), status(&output, "Seccomp")), ("0", "0"));
        let mut config = script(STATUS);
        config.security.run_as_user = Some(1000);
        config.security.no_new_privs = true;
        let (output, _) = bed.run(&own_pid(), &config);
        for (key, value) in [("CapPrm", NONE), ("CapEff", NONE), ("CapBnd", DEFAULT), ("NoNewPrivs", "1")] {
            assert_eq!(status(&output, key), value, "{key}");
        }
    });
}

#[test]
fn ambient_capabilities_survive_for_a_user() {
    bed(|bed| {
        let mut config = script(STATUS);
        config.security.run_as_user = Some(1000);
        config.security.drop_capabilities = vec!["ALL".to_owned()];
        config.security.ambient_capabilities = vec!["NET_BIND_SERVICE".to_owned()];
        let (output, _) = bed.run(&own_pid(), &config);
        for key in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(status(&output, key), "0000000000000400", "{key}");
        }
    });
}

#[test]
fn a_privileged_container_has_what_we_have() {
    bed(|bed| {
        let text = "cat /proc/self/status; ls /dev/vda /dev/kmsg 2>/dev/null; cat /proc/mounts; ls /etc/group";
        let mut config = script(text);
        config.security.privileged = true;
        config.security.masked_paths = vec!["/etc/group".to_owned()];
        config.security.seccomp = Some(Profile::RuntimeDefault);
        let (output, _) = bed.run(&own_pid(), &config);
        let own = format!("{:016x}", bed.facts.capabilities.0);
        assert_eq!((status(&output, "CapEff"), status(&output, "CapBnd")), (own.as_str(), own.as_str()));
        assert_eq!(status(&output, "Seccomp"), "0");
        assert!(output.contains("sysfs /sys sysfs rw"), "{output}");
        assert!(Path::new("/dev/kmsg").exists() == output.contains("\n/dev/kmsg\n"), "{output}");
        assert!(!output.contains("/etc/group tmpfs") && output.ends_with("/etc/group\n"), "{output}");
    });
}

#[test]
fn the_filter_is_installed_with_and_without_new_privileges() {
    bed(|bed| {
        for no_new_privs in [false, true] {
            for user in [0, 1000] {
                let mut config = script(STATUS);
                config.security.seccomp = Some(Profile::RuntimeDefault);
                config.security.no_new_privs = no_new_privs;
                config.security.run_as_user = Some(user);
                let (output, _) = bed.run(&own_pid(), &config);
                assert_eq!(status(&output, "Seccomp"), "2", "user {user}, no_new_privs {no_new_privs}");
                let granted = if user == 0 { DEFAULT } else { NONE };
                assert_eq!(status(&output, "CapEff"), granted, "user {user}, no_new_privs {no_new_privs}");
            }
        }
    });
}

#[test]
fn a_user_has_its_groups_home_and_streams() {
    bed(|bed| {
        let mut config = script("id -u; id -G; echo $HOME; echo again > /dev/stdout; pwd; stat -c %u .; echo x > x");
        config.security.run_as_user = Some(1000);
        config.security.supplemental_groups = vec![7];
        config.working_dir = "/home/app/work".to_owned();
        let (output, _) = bed.run(&own_pid(), &config);
        let text = "1000\n1000 7 44\n/home/app\nagain\n/home/app/work\n0\n";
        assert_eq!(output, format!("{text}/bin/sh: can't create x: Permission denied\n"));
        let pod = bed.pod(&own_pid());
        let launched = bed.launch(&bed.plan(&own_pid(), &config), &pod, pipes().0).expect("launched");
        assert_eq!(
            launched.user,
            Identity { uid: 1000, gid: 1000, groups: vec![1000, 44, 7], home: "/home/app".to_owned() }
        );
        wait(&launched.pidfd);
        bed.end(pod);
    });
}

#[test]
fn a_directory_that_only_the_user_may_enter_can_be_the_working_directory() {
    bed(|bed| {
        let home = bed.layer().join("home/app");
        fs::create_dir_all(&home).expect("directory");
        std::os::unix::fs::chown(&home, Some(1000), Some(1000)).expect("owner");
        let mode = std::os::unix::fs::PermissionsExt::from_mode;
        fs::set_permissions(&home, mode(0o700)).expect("mode");
        let mut config = script("pwd; echo x > x && cat x");
        config.working_dir = "/home/app".to_owned();
        config.security.run_as_user = Some(1000);
        config.security.drop_capabilities = vec!["ALL".to_owned()];
        assert_eq!(bed.run(&own_pid(), &config).0, "/home/app\nx\n");
    });
}

/// A pod with a user namespace of its own.
pub(super) fn mapped(pid: NamespaceMode) -> PodConfig {
    let mut config = own_pid();
    let map = vec![IdMapping { host_id: 100_000, container_id: 0, length: 65_536 }];
    config.namespaces.pid = pid;
    config.namespaces.user = Some(UserNamespace { mode: NamespaceMode::Pod, uids: map.clone(), gids: map });
    config
}

#[test]
fn a_pod_with_a_user_namespace_sees_its_own_ids_everywhere() {
    mapping_bed(|bed| {
        let data = bed.dir.join("data");
        fs::create_dir(&data).expect("directory");
        std::os::unix::fs::chown(&data, Some(1000), Some(1000)).expect("owner");
        fs::write(bed.pod_dir().join("hosts"), "").expect("write");
        let text = "cat /proc/self/uid_map; id -u; stat -c '%n %u:%g' / /bin/busybox /data /etc/hosts /proc /dev/shm \
            /dev/pts /dev/mqueue; echo x > /dev/null; echo x > /dev/shm/x; echo x > /data/file; echo x > /new; \
            mount -t tmpfs none /tmp && mount -t proc none /tmp && ls /tmp/1/comm; mkdir /sys/fs/cgroup/x; echo $$";
        let mut config = script(text);
        config.mounts = vec![super::container::mount(&data, "/data")];
        config.security.add_capabilities = vec!["SYS_ADMIN".to_owned()];
        let (output, _) = bed.run(&mapped(NamespaceMode::Container), &config);
        let lines: Vec<&str> = output.lines().collect();
        assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>(), ["0", "100000", "65536"], "{output}");
        assert_eq!(
            lines[1..12],
            [
                "0",
                "/ 0:0",
                "/bin/busybox 0:0",
                "/data 1000:1000",
                "/etc/hosts 0:0",
                "/proc 65534:65534",
                "/dev/shm 0:0",
                "/dev/pts 0:0",
                "/dev/mqueue 0:0",
                "/tmp/1/comm",
                "mkdir: can't create directory '/sys/fs/cgroup/x': Read-only file system",
            ]
            .map(|line| if line == "/proc 65534:65534" { lines[6] } else { line })
        );
        assert_eq!(lines[12..], ["1"], "{output}");
        let owner = |path: &Path| std::os::unix::fs::MetadataExt::uid(&fs::metadata(path).expect("metadata"));
        assert_eq!(owner(&data.join("file")), 0, "an id-mapped volume gets the container's own ids");
        assert_eq!(owner(&bed.dir.join("upper/new")), 100_000, "the container's layer has the host's");
    });
}

#[test]
fn processes_in_a_user_namespace_are_the_hosts_mapped_users() {
    mapping_bed(|bed| {
        let config = mapped(NamespaceMode::Container);
        let pod = bed.pod(&config);
        let (stdio, _output) = pipes();
        let launched = bed.launch(&bed.plan(&config, &sleeper()), &pod, stdio).expect("launched");
        let status = fs::read_to_string(format!("/proc/{}/status", launched.pid)).expect("status");
        assert_eq!(self::status(&status, "Uid").split('\t').next(), Some("100000"));
        let of = |pid: &str, kind: &str| fs::read_link(format!("/proc/{pid}/ns/{kind}")).expect("namespace");
        for kind in ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"] {
            assert_ne!(of(&launched.pid.to_string(), kind), of("self", kind), "{kind}");
        }
        let child = Child { pid: launched.pid, pidfd: launched.pidfd };
        parent::kill(&child);
        parent::reap(&child);
        bed.end(pod);
    });
}

#[test]
fn a_user_namespace_and_a_shared_pid_namespace_go_together() {
    mapping_bed(|bed| {
        let mut config = script("cat /proc/1/comm; stat -c %u /proc/1");
        config.security.namespaces.pid = NamespaceMode::Pod;
        let (output, code) = bed.run(&mapped(NamespaceMode::Pod), &config);
        assert_eq!((output.lines().next(), code), (Some("berth:pause"), 0), "{output}");
    });
}

#[test]
fn a_user_namespace_goes_with_the_nodes_network() {
    mapping_bed(|bed| {
        let mut config = mapped(NamespaceMode::Container);
        config.namespaces.network = NamespaceMode::Node;
        let (output, code) = bed.run(&config, &script("ls -d /sys/class/net; id -u; echo x > /sys/x"));
        let expected = "/sys/class/net\n0\n/bin/sh: can't create /sys/x: Read-only file system\n";
        assert_eq!((output.as_str(), code), (expected, 1));
    });
}

#[test]
fn failures_in_a_user_namespace_leave_no_process() {
    mapping_bed(|bed| {
        let config = mapped(NamespaceMode::Container);
        let pod = bed.pod(&config);
        let mut missing = script("");
        missing.command = vec!["/none".to_owned()];
        let error = bed.launch(&bed.plan(&config, &missing), &pod, pipes().0).expect_err("fails");
        assert_eq!(error.to_string(), "exec: \"/none\": stat /none: no such file or directory");
        let none = waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
        assert!(matches!(none, Err(rustix::io::Errno::CHILD)), "a child is left: {none:?}");
        bed.end(pod);
    });
}
