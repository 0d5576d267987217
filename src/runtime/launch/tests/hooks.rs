use std::{collections::BTreeMap, fs};

use super::{Bed, bed, confine::mapped, mapping_bed, own_pid, pipes, script};
use crate::{
    runtime::hooks::{Hook, Hooks, Phase},
    types::{ContainerConfig, NamespaceMode, PodConfig},
};

/// A container with hooks that are scripts of the host's shell.
fn plan(bed: &Bed, pod: &PodConfig, config: &ContainerConfig, scripts: &[(Phase, &str)]) -> super::ContainerPlan {
    let hook = |(phase, script): &(Phase, &str)| Hook {
        phase: *phase,
        path: "/bin/sh".into(),
        args: ["sh", "-c", script].map(str::to_owned).into(),
        env: vec!["PATH=/usr/sbin:/usr/bin:/sbin:/bin".to_owned()],
        timeout: None,
    };
    let hooks: Vec<_> = scripts.iter().map(hook).collect();
    let hooks = Hooks::new(&bed.id, &bed.pod_dir(), &BTreeMap::new(), &hooks).expect("some");
    let mut plan = bed.plan(pod, config);
    plan.mountpoint = hooks.root();
    plan.hooks = Some(hooks.clone());
    hooks.make_bundle(&plan, pod, &bed.pod_dir()).expect("a bundle");
    plan
}

#[test]
fn a_hook_inside_changes_the_root_before_it_is_one_and_mounts_for_the_container_alone() {
    bed(|bed| {
        let inside =
            "set -e; grep -q creating; cd rootfs; echo text > etc/made; mkdir x; mount -t tmpfs hook x; touch x/y";
        let config = script("cat /etc/made; ls /x; cat /proc/self/mounts");
        let plan = plan(bed, &own_pid(), &config, &[(Phase::CreateContainer, inside)]);
        let pod = bed.pod(&own_pid());
        let text = bed.run_plan(&pod, &plan).0;
        assert!(text.starts_with("text\ny\n"), "{text}");
        assert_eq!(text.lines().filter(|line| line.starts_with("hook /x tmpfs")).count(), 1, "{text}");
        let mounts = fs::read_to_string("/proc/self/mounts").expect("mounts");
        assert!(!mounts.contains("rootfs"), "{mounts}");
        bed.end(pod);
    });
}

#[test]
fn a_hook_in_a_user_namespace_is_root_there() {
    mapping_bed(|bed| {
        let config = script("cat /made; stat -c %u:%g /made");
        let inside = "set -e; test -r config.json; id -u > rootfs/made; readlink /proc/self/ns/user >> rootfs/made";
        let pod_config = mapped(NamespaceMode::Container);
        let plan = plan(bed, &pod_config, &config, &[(Phase::CreateRuntime, "true"), (Phase::CreateContainer, inside)]);
        let pod = bed.pod(&pod_config);
        let text = bed.run_plan(&pod, &plan).0;
        let own = fs::read_link("/proc/self/ns/user").expect("a namespace");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines[0], lines[2]), ("0", "0:0"), "{text}");
        assert_ne!(lines[1], own.to_string_lossy());
        bed.end(pod);
    });
}

#[test]
fn a_failing_hook_ends_the_launch_and_leaves_nothing() {
    bed(|bed| {
        let pod = bed.pod(&own_pid());
        for phase in [Phase::Prestart, Phase::CreateRuntime, Phase::CreateContainer] {
            let plan = plan(bed, &own_pid(), &script("true"), &[(phase, "echo reason >&2; exit 9")]);
            let error = bed.launch(&plan, &pod, pipes().0).expect_err("a hook fails");
            assert_eq!(error.to_string(), format!("hook {phase} /bin/sh: it ended with code 9: reason"));
        }
        bed.end(pod);
    });
}

#[test]
fn a_hook_inside_is_not_seen_by_other_containers_of_the_pod() {
    bed(|bed| {
        let mut pod_config = own_pid();
        pod_config.namespaces.pid = NamespaceMode::Pod;
        let mut config = script("cat /made");
        config.security.namespaces.pid = NamespaceMode::Pod;
        let inside = "readlink /proc/self/ns/pid > rootfs/made";
        let plan = plan(bed, &pod_config, &config, &[(Phase::CreateContainer, inside)]);
        let pod = bed.pod(&pod_config);
        let own = fs::read_link("/proc/self/ns/pid").expect("a namespace");
        assert_eq!(bed.run_plan(&pod, &plan).0.trim(), own.to_string_lossy());
        bed.end(pod);
    });
}
