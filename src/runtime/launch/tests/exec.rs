//! Execs.

use std::os::fd::AsFd as _;

use super::{confine::mapped, *};
use crate::error::{Classify as _, Kind};

/// Runs `test` with a running container.
fn with_container(bed: &Bed, pod: &PodConfig, config: &ContainerConfig, test: impl FnOnce(&ContainerPlan, &Launched)) {
    let plan = bed.plan(pod, config);
    let pod = bed.pod(pod);
    let (stdio, _output) = pipes();
    let launched = bed.launch(&plan, &pod, stdio).expect("launched");
    test(&plan, &launched);
    let child = Child { pid: launched.pid, pidfd: launched.pidfd };
    parent::kill(&child);
    parent::reap(&child);
    bed.end(pod);
}

fn target(launched: &Launched) -> Target<'_> {
    Target { pid: launched.pid, pidfd: launched.pidfd.as_fd(), user: &launched.user, entrance: None }
}

fn run(plan: &ContainerPlan, launched: &Launched, text: &str) -> (String, i32) {
    let plan = plan::exec(plan, &["sh", "-c", text].map(str::to_owned), false);
    let (stdio, mut output) = pipes();
    let exec = super::exec(&plan, &target(launched), stdio).expect("launched");
    let mut text = String::new();
    output.read_to_string(&mut text).expect("output");
    (text, wait(&exec.pidfd))
}

#[test]
fn an_exec_has_what_its_container_has() {
    bed(|bed| {
        let mut config = sleeper();
        config.security.run_as_user = Some(1000);
        config.security.drop_capabilities = vec!["NET_RAW".to_owned()];
        config.security.no_new_privs = true;
        config.working_dir = "/tmp".to_owned();
        config.envs = vec![("COLOUR".to_owned(), "blue".to_owned())];
        with_container(bed, &own_pid(), &config, |plan, launched| {
            let text = "cat /proc/1/comm; id -u; id -G; pwd; echo $COLOUR $HOME; ls /proc/self/fd; \
                cat /proc/sys/kernel/hostname; cat /proc/self/cgroup; cat /proc/self/status; exit 3";
            let (output, code) = run(plan, launched, text);
            assert_eq!(code, 3);
            assert!(output.starts_with("sleep\n1000\n1000 44\n/tmp\nblue /home/app\n0\n1\n2\n3\nweb-1\n"), "{output}");
            assert!(output.contains("CapBnd:\t00000000a80405fb") && output.contains("NoNewPrivs:\t1"), "{output}");
            let cgroups = output.lines().filter(|line| line.contains(":/"));
            assert!(cgroups.clone().all(|line| line.ends_with(":/")), "{output}");
            for kind in ["mnt", "pid", "net", "ipc", "uts", "cgroup"] {
                let (output, _) = run(plan, launched, &format!("ls -l /proc/self/ns/{kind}"));
                let of = fs::read_link(format!("/proc/{}/ns/{kind}", launched.pid)).expect("namespace");
                assert!(output.contains(&*of.to_string_lossy()), "{kind}: {output}");
            }
        });
    });
}

#[test]
fn an_exec_can_have_a_terminal() {
    bed(|bed| {
        with_container(bed, &own_pid(), &sleeper(), |plan, launched| {
            let plan = plan::exec(plan, &["sh", "-c", "tty; echo $TERM"].map(str::to_owned), true);
            let exec = super::exec(&plan, &target(launched), Stdio::Terminal).expect("launched");
            assert_eq!(read_console(exec.console), "/dev/pts/0\r\nxterm\r\n");
            assert_eq!(wait(&exec.pidfd), 0);
        });
    });
}

#[test]
fn an_exec_enters_user_namespaces_and_shared_pid_namespaces() {
    mapping_bed(|bed| {
        let mut config = sleeper();
        config.security.namespaces.pid = NamespaceMode::Pod;
        with_container(bed, &mapped(NamespaceMode::Pod), &config, |plan, launched| {
            // The id is the launcher's, not the pod's.
            assert_eq!(fs::read_to_string(format!("/proc/{}/comm", launched.pid)).expect("comm"), "sleep\n");
            let text = "cat /proc/1/comm; id -u; echo x > /x; stat -c %u /x; cat /proc/self/uid_map";
            let (output, _) = run(plan, launched, text);
            let words: Vec<&str> = output.split_whitespace().collect();
            assert_eq!(words, ["berth:pause", "0", "0", "0", "100000", "65536"]);
        });
    });
}

#[test]
fn a_missing_program_and_an_ended_container_are_told_apart() {
    bed(|bed| {
        with_container(bed, &own_pid(), &sleeper(), |plan, launched| {
            let exec_plan = plan::exec(plan, &["foo".to_owned()], false);
            let error = super::exec(&exec_plan, &target(launched), pipes().0).expect_err("no such program");
            assert_eq!(error.to_string(), "exec: \"foo\": executable file not found in $PATH");
            rustix::process::pidfd_send_signal(&launched.pidfd, rustix::process::Signal::KILL).expect("killed");
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            waitid(WaitId::PidFd(launched.pidfd.as_fd()), options).expect("ended");
            let exec_plan = plan::exec(plan, &["true".to_owned()], false);
            let error = super::exec(&exec_plan, &target(launched), pipes().0).expect_err("no container");
            assert_eq!((error.step, error.kind()), (Step::Namespace, Kind::FailedPrecondition), "{error}");
        });
    });
}

#[test]
fn the_launcher_stays_in_its_own_namespaces() {
    bed(|bed| {
        let own = |kind: &str| fs::read_link(format!("/proc/self/ns/{kind}")).expect("namespace");
        let kinds = ["pid", "pid_for_children", "mnt", "net", "ipc", "uts", "user", "cgroup"];
        let before = kinds.map(own);
        with_container(bed, &own_pid(), &sleeper(), |plan, launched| {
            run(plan, launched, "true");
        });
        assert_eq!(kinds.map(own), before);
    });
}
