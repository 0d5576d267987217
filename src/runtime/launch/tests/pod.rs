//! Pods.

use super::*;

#[test]
fn a_pods_namespaces_are_pinned_and_set_up() {
    bed(|bed| {
        let mut config = own_pid();
        config.sysctls.insert("net.ipv4.ip_forward".to_owned(), "1".to_owned());
        config.sysctls.insert("kernel/shm_rmid_forced".to_owned(), "1".to_owned());
        let pod = bed.pod(&config);
        for name in ["net", "ipc", "uts"] {
            let pin = fs::metadata(bed.pod_dir().join("ns").join(name)).expect("pin");
            let own = fs::metadata(format!("/proc/self/ns/{name}")).expect("own");
            let inode = std::os::unix::fs::MetadataExt::ino;
            assert_ne!(inode(&pin), inode(&own), "{name}");
            let held = [("net", &pod.net), ("ipc", &pod.ipc), ("uts", &pod.uts)];
            let held = held.iter().find(|(held, _)| *held == name).and_then(|(_, fd)| fd.as_ref()).expect("held");
            assert_eq!(rustix::fs::fstat(held).expect("stat").st_ino, inode(&pin), "{name}");
        }
        let shm = rustix::fs::statfs(bed.pod_dir().join("shm")).expect("statfs");
        assert_eq!(shm.f_blocks * u64::try_from(shm.f_bsize).expect("size"), 64 << 20);
        bed.end(pod);
        let text = "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shm_rmid_forced \
            /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/net/ipv4/ping_group_range \
            /sys/class/net/lo/flags; stat -c %a /dev/shm; ls /sys/class/net";
        let (output, _) = bed.run(&config, &script(text));
        assert_eq!(output, "1\n1\n0\n0\t2147483647\n0x9\n1777\nlo\n");
    });
}

#[test]
fn shared_memory_and_message_queues_are_the_pods() {
    bed(|bed| {
        let pod = bed.pod(&own_pid());
        let (output, _) = bed.run_plan(&pod, &bed.plan(&own_pid(), &script("echo x > /dev/shm/x; echo done")));
        assert_eq!(output, "done\n");
        assert!(bed.pod_dir().join("shm/x").exists());
        let (output, _) = bed.run_plan(&pod, &bed.plan(&own_pid(), &script("cat /dev/shm/x")));
        assert_eq!(output, "x\n");
        bed.end(pod);
    });
}

#[test]
fn a_pod_of_the_node_has_nothing_of_its_own() {
    bed(|bed| {
        let mut config = PodConfig::default();
        config.namespaces.network = NamespaceMode::Node;
        config.namespaces.ipc = NamespaceMode::Node;
        config.namespaces.pid = NamespaceMode::Node;
        let mut container = script("cat /proc/sys/kernel/hostname; ls -l /proc/self/ns/net /proc/self/ns/ipc");
        container.security.namespaces.pid = NamespaceMode::Node;
        let plan = bed.plan(&config, &container);
        let pod = bed.pod(&config);
        assert!(pod.net.is_none() && pod.ipc.is_none() && pod.uts.is_none() && pod.init.is_none());
        let (output, _) = bed.run_plan(&pod, &plan);
        assert!(output.starts_with(&format!("{}\n", bed.facts.hostname)), "{output}");
        for kind in ["net", "ipc"] {
            let own = fs::read_link(format!("/proc/self/ns/{kind}")).expect("namespace");
            assert!(output.contains(&*own.to_string_lossy()), "{kind}: {output}");
        }
        unpin(&bed.pod_dir()).expect("nothing to unpin");
    });
}

#[test]
fn a_pod_that_fails_leaves_nothing() {
    bed(|bed| {
        let mut config = PodConfig::default();
        config.sysctls.insert("net.ipv4.no_such_parameter".to_owned(), "1".to_owned());
        let plan = plan::pod(&bed.id, &bed.pod_dir(), &config, &bed.facts).expect("planned");
        let error = pod(&plan).expect_err("no such parameter");
        assert_eq!(error.to_string(), "set sysctl net.ipv4.no_such_parameter: no such file or directory");
        config.sysctls.clear();
        let mut plan = plan::pod(&bed.id, &bed.pod_dir(), &config, &bed.facts).expect("planned");
        // The init's cgroup cannot be made: the namespaces are pinned by then.
        plan.cgroup = Some("/../no".to_owned());
        assert_eq!(pod(&plan).expect_err("no such cgroup").step, Step::Cgroup);
        assert!(!bed.pod_dir().join("ns/net").exists());
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
        assert!(!mounts.contains(&*bed.dir.to_string_lossy()), "{mounts}");
        let none = waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
        assert!(matches!(none, Err(rustix::io::Errno::CHILD)), "a child is left: {none:?}");
    });
}

#[test]
fn the_shared_init_reaps_orphans_and_ends_only_from_outside() {
    bed(|bed| {
        let config = PodConfig::default();
        let mut container = script(
            "(sleep 0.05 & ) ; kill -TERM 1; sleep 0.3; for s in /proc/[0-9]*/stat; do read -r p c z rest < $s; echo $c $z; done",
        );
        container.security.namespaces.pid = NamespaceMode::Pod;
        let plan = bed.plan(&config, &container);
        let pod = bed.pod(&config);
        let (output, _) = bed.run_plan(&pod, &plan);
        assert!(output.starts_with("(berth:pause) S\n"), "{output}");
        assert!(!output.contains(" Z"), "a zombie was left: {output}");
        let init = pod.init.as_ref().expect("init");
        let status = fs::read_to_string(format!("/proc/{}/status", init.pid)).expect("status");
        for line in ["Uid:\t65535", "CapPrm:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1"] {
            assert!(status.contains(line), "{line} in {status}");
        }
        assert_eq!(fs::read_dir(format!("/proc/{}/root", init.pid)).expect("root").count(), 0, "its root is empty");
        let descriptors = fs::read_dir(format!("/proc/{}/fd", init.pid)).expect("descriptors").count();
        assert_eq!(descriptors, 1, "the signals alone");
        rustix::process::pidfd_send_signal(&init.pidfd, rustix::process::Signal::TERM).expect("sent");
        assert_eq!(wait(&init.pidfd), 0);
        bed.end(PodInit { init: None, ..pod });
    });
}
