//! Containers: their file system, devices, processes and errors.

use super::*;
use crate::types::{Mount, Propagation};

#[test]
fn a_container_runs_in_namespaces_and_a_root_of_its_own() {
    bed(|bed| {
        let text = "echo pid $$; cat /proc/sys/kernel/hostname; ls /; cat /proc/1/comm; pwd; echo $HOME $PATH";
        let (output, code) = bed.run(&own_pid(), &script(text));
        let lines: Vec<&str> = output.lines().collect();
        assert_eq!(code, 0, "{output}");
        assert_eq!(lines[..2], ["pid 1", "web-1"], "{output}");
        assert_eq!(lines[2..8], ["bin", "dev", "etc", "proc", "sys", "tmp"], "{output}");
        assert_eq!(lines[8..], ["sh", "/", "/root /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]);
    });
}

#[test]
fn every_container_has_the_usual_file_systems() {
    bed(|bed| {
        let (output, _) = bed.run(&own_pid(), &script("cat /proc/mounts"));
        let mounts: Vec<(&str, &str, &str)> = output
            .lines()
            .map(|line| {
                let fields: Vec<&str> = line.split(' ').collect();
                (fields[1], fields[2], fields[3])
            })
            .collect();
        let has = |target: &str, kind: &str, options: &[&str]| {
            let found = mounts.iter().rfind(|mount| mount.0 == target);
            let (_, found_kind, found_options) = found.unwrap_or_else(|| panic!("no {target} in {output}"));
            assert_eq!(*found_kind, kind, "{target}");
            for option in options {
                assert!(
                    found_options.split(',').any(|found| found == *option),
                    "{target}: {option} in {found_options}"
                );
            }
        };
        has("/", "overlay", &["rw"]);
        has("/proc", "proc", &["rw", "nosuid", "nodev", "noexec"]);
        has("/dev", "tmpfs", &["rw", "nosuid", "mode=755", "size=65536k"]);
        has("/dev/pts", "devpts", &["nosuid", "noexec", "gid=5", "mode=620", "ptmxmode=666"]);
        has("/dev/shm", "tmpfs", &["rw", "nosuid", "nodev", "noexec", "size=65536k"]);
        has("/dev/mqueue", "mqueue", &["nosuid", "nodev", "noexec"]);
        has("/sys", "sysfs", &["ro", "nosuid", "nodev", "noexec"]);
        match bed.facts.hierarchies.as_slice() {
            [] => has("/sys/fs/cgroup", "cgroup2", &["ro"]),
            _ => {
                has("/sys/fs/cgroup", "tmpfs", &["ro", "nosuid", "nodev", "noexec"]);
                has("/sys/fs/cgroup/memory", "cgroup", &["ro", "memory"]);
            }
        }
        let host = bed.dir.to_string_lossy();
        assert!(!mounts.iter().any(|mount| mount.0.contains(&*host)), "the host's mounts are seen: {output}");
    });
}

#[test]
fn a_containers_own_cgroup_is_the_root_of_what_it_sees() {
    bed(|bed| {
        let (output, _) = bed.run(&own_pid(), &script("cat /proc/self/cgroup"));
        assert!(output.lines().all(|line| line.ends_with(":/")), "{output}");
        if !bed.facts.hierarchies.is_empty() {
            let (output, _) = bed.run(&own_pid(), &script("cat /sys/fs/cgroup/memory/tasks"));
            assert!(output.starts_with("1\n"), "{output}");
        }
    });
}

#[test]
fn devices_work_and_no_others_exist() {
    bed(|bed| {
        let text = "ls /dev; stat -c '%n %A %t:%T' /dev/null /dev/tty; echo x > /dev/null; \
            echo y > /dev/stderr; stat -L -c %A /dev/ptmx";
        let (output, code) = bed.run(&own_pid(), &script(text));
        assert_eq!(code, 0, "{output}");
        let names = "core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero";
        let rest = "/dev/null crw-rw-rw- 1:3\n/dev/tty crw-rw-rw- 5:0\ny\ncrw-rw-rw-\n";
        assert_eq!(output, format!("{}\n{rest}", names.replace(' ', "\n")));
    });
}

#[test]
fn requested_devices_appear_with_their_owners_and_modes() {
    bed(|bed| {
        let mut config = script("stat -c '%A %t:%T' /dev/mine/zero /extra/null");
        let device = |host: &str, container: &str| crate::types::DeviceRequest {
            host_path: host.to_owned(),
            container_path: container.to_owned(),
            permissions: "rw".to_owned(),
        };
        config.devices = vec![device("/dev/zero", "/dev/mine/zero"), device("/dev/null", "/extra/null")];
        let (output, _) = bed.run(&own_pid(), &config);
        assert_eq!(output, "crw-rw-rw- 1:5\ncrw-rw-rw- 1:3\n");
    });
}

#[test]
fn no_descriptor_of_ours_reaches_the_program() {
    bed(|bed| {
        // 3 is the directory that ls reads.
        let (output, _) = bed.run(&own_pid(), &script("ls /proc/self/fd"));
        assert_eq!(output, "0\n1\n2\n3\n");
        let mut config = script("");
        config.command = ["/bin/cat", "/proc/self/status"].map(str::to_owned).to_vec();
        let (output, _) = bed.run(&own_pid(), &config);
        for line in ["SigBlk:\t0000000000000000", "SigIgn:\t0000000000000000", "Umask:\t0022"] {
            assert!(output.contains(line), "{line} in {output}");
        }
    });
}

#[test]
fn the_pods_files_are_mounted_unless_the_container_has_its_own() {
    bed(|bed| {
        fs::write(bed.pod_dir().join("hosts"), "the pod's\n").expect("write");
        fs::write(bed.pod_dir().join("resolv.conf"), "nameserver 1.1.1.1\n").expect("write");
        fs::write(bed.dir.join("own"), "my own\n").expect("write");
        let mut config = script("cat /etc/hosts /etc/resolv.conf; ls /etc/hostname");
        config.mounts = vec![mount(&bed.dir.join("own"), "/etc/hosts")];
        let (output, _) = bed.run(&own_pid(), &config);
        assert_eq!(output, "my own\nnameserver 1.1.1.1\nls: /etc/hostname: No such file or directory\n");
    });
}

#[test]
fn masked_paths_show_nothing_and_read_only_ones_take_nothing() {
    bed(|bed| {
        fs::create_dir(bed.layer().join("secrets")).expect("directory");
        fs::write(bed.layer().join("secrets/key"), "secret").expect("write");
        fs::create_dir(bed.layer().join("other")).expect("directory");
        fs::write(bed.layer().join("other/key"), "secret").expect("write");
        let mut config = script(
            "cat /etc/group; ls /secrets /other; echo x > /tmp/y; echo x > /secrets/y; /bin/ls; \
             echo 1 > /proc/sys/kernel/panic",
        );
        let own = |list: &[&str]| list.iter().map(|&path| path.to_owned()).collect();
        config.security.masked_paths = own(&["/etc/group", "/bin/ls", "/secrets", "/other", "/none", "/etc/passwd/x"]);
        config.security.readonly_paths = own(&["/tmp", "/proc/sys", "/absent"]);
        let (output, _) = bed.run(&own_pid(), &config);
        assert_eq!(
            output,
            "/other:\n\n/secrets:\n\
             /bin/sh: can't create /tmp/y: Read-only file system\n\
             /bin/sh: can't create /secrets/y: Read-only file system\n\
             /bin/sh: /bin/ls: Permission denied\n\
             /bin/sh: can't create /proc/sys/kernel/panic: Read-only file system\n"
        );
    });
}

#[test]
fn a_read_only_root_takes_no_writes_and_mounts_on_it_do() {
    bed(|bed| {
        fs::create_dir(bed.dir.join("data")).expect("directory");
        let mut config = script("echo x > /x; echo y > /new/target/y; echo z > /dev/shm/z; cat /new/target/y");
        config.security.readonly_rootfs = true;
        config.mounts = vec![mount(&bed.dir.join("data"), "/new/target")];
        let (output, _) = bed.run(&own_pid(), &config);
        assert_eq!(output, "/bin/sh: can't create /x: Read-only file system\ny\n");
        assert_eq!(fs::read_to_string(bed.dir.join("data/y")).expect("read"), "y\n");
    });
}

#[test]
fn pid_namespaces_are_the_ones_that_are_asked_for() {
    bed(|bed| {
        // The pod's: process 1 is ours and the container sees it.
        let shared = PodConfig::default();
        let mut config = script("cat /proc/1/comm; test $$ -gt 1 && echo other; ls /proc/1/root/ 2>&1");
        config.security.namespaces.pid = NamespaceMode::Pod;
        let (output, _) = bed.run(&shared, &config);
        assert_eq!(output, "berth:pause\nother\nls: /proc/1/root/: Permission denied\n");
        // The node's.
        let mut host = PodConfig::default();
        host.namespaces.pid = NamespaceMode::Node;
        let mut config = script("echo $$");
        config.security.namespaces.pid = NamespaceMode::Node;
        let plan = bed.plan(&host, &config);
        let pod = bed.pod(&host);
        let (stdio, mut output) = pipes();
        let launched = bed.launch(&plan, &pod, stdio).expect("launched");
        let mut text = String::new();
        output.read_to_string(&mut text).expect("output");
        assert_eq!(text, format!("{}\n", launched.pid));
        wait(&launched.pidfd);
        bed.end(pod);
    });
}

#[test]
fn a_target_containers_pid_namespace_can_be_shared() {
    bed(|bed| {
        let pod = bed.pod(&own_pid());
        let (stdio, _output) = pipes();
        let target = bed.launch(&bed.plan(&own_pid(), &sleeper()), &pod, stdio).expect("launched");
        let mut plan = bed.plan(&own_pid(), &script("cat /proc/1/comm; echo $$"));
        for name in ["upper2", "work2"] {
            fs::create_dir(bed.dir.join(name)).expect("directory");
        }
        (plan.rootfs.upper, plan.rootfs.work) = (bed.dir.join("upper2"), bed.dir.join("work2"));
        plan.pid = plan::PidNamespace::Target(target.pid);
        assert_eq!(bed.run_plan(&pod, &plan).0.lines().next(), Some("sleep"));
        // A process of the node is no container's.
        plan.pid = plan::PidNamespace::Target(std::process::id().cast_signed());
        let error = bed.launch(&plan, &pod, pipes().0).expect_err("the node's own");
        assert_eq!(error.step, Step::Namespace, "{error}");
        let target = Child { pid: target.pid, pidfd: target.pidfd };
        parent::kill(&target);
        parent::reap(&target);
        bed.end(pod);
    });
}

#[test]
fn failures_say_what_is_wrong_and_leave_no_process_and_no_cgroup() {
    bed(|bed| {
        fs::write(bed.layer().join("bin/text"), "not a program").expect("write");
        fs::write(bed.layer().join("bin/elf"), "").expect("write");
        let mode = std::os::unix::fs::PermissionsExt::from_mode;
        fs::set_permissions(bed.layer().join("bin/elf"), mode(0o755)).expect("mode");
        let pod = bed.pod(&own_pid());
        let fail = |change: &dyn Fn(&mut ContainerConfig)| {
            let mut config = script("");
            change(&mut config);
            let error = bed.launch(&bed.plan(&own_pid(), &config), &pod, pipes().0).expect_err("fails");
            let cgroup = Hierarchy::detect().expect("cgroups").open(&format!("{}/container", bed.cgroup()));
            assert!(cgroup.entrance().is_err(), "the cgroup is left after {error}");
            error.to_string()
        };
        let command = |name: &str| fail(&|config| config.command = vec![name.to_owned()]);
        assert_eq!(command("foo"), "exec: \"foo\": executable file not found in $PATH");
        assert_eq!(command("/bin/foo"), "exec: \"/bin/foo\": stat /bin/foo: no such file or directory");
        assert_eq!(command("/bin/text"), "exec: \"/bin/text\": permission denied");
        assert_eq!(command("text"), "exec: \"text\": permission denied");
        assert_eq!(command("/bin"), "exec: \"/bin\": is a directory");
        assert_eq!(command("elf"), "exec /bin/elf: exec format error");
        let user = fail(&|config| config.security.run_as_username = "ghost".to_owned());
        assert_eq!(user, "look up user \"ghost\": no matching entries in /etc/passwd of the image");
        let cwd = fail(&|config| config.working_dir = "/etc/passwd".to_owned());
        assert_eq!(cwd, "change to working directory /etc/passwd: not a directory");
        let source = fail(&|config| config.mounts = vec![mount(&bed.layer().join("bin/text/x"), "/x")]);
        assert_eq!(source, format!("mount {}: not a directory", bed.layer().join("bin/text/x").display()));
        bed.end(pod);
    });
}

#[test]
fn an_image_cannot_lead_the_launch_astray() {
    bed(|bed| {
        let layer = bed.layer();
        fs::write(bed.dir.join("secret"), "host").expect("write");
        // Mount targets behind links that lead out.
        symlink("/../../../../../../", layer.join("escape")).expect("link");
        fs::create_dir(bed.dir.join("data")).expect("directory");
        let mut config = script("ls /made /tmp; pwd");
        config.mounts = vec![mount(&bed.dir.join("data"), "/escape/made")];
        // A working directory behind a descriptor that the launcher may have open.
        config.working_dir = "/tmp/cwd".to_owned();
        let (output, _) = bed.run(&own_pid(), &config);
        assert_eq!(output, "/made:\n\n/tmp:\ncwd\n/tmp/cwd\n");
        let pod = bed.pod(&own_pid());
        for descriptor in 3..30 {
            let mut config = script("pwd");
            config.working_dir = format!("/proc/self/fd/{descriptor}");
            let (stdio, mut output) = pipes();
            match bed.launch(&bed.plan(&own_pid(), &config), &pod, stdio) {
                Err(error) => assert_eq!(error.step, Step::WorkingDirectory, "{error}"),
                // The container's own /proc, which the launch has open to make a directory in it.
                Ok(launched) => {
                    let mut text = String::new();
                    output.read_to_string(&mut text).expect("output");
                    assert_eq!((text.as_str(), wait(&launched.pidfd)), ("/proc/1/fd\n", 0));
                }
            }
            let mut config = script("");
            config.command = vec![format!("/proc/self/fd/{descriptor}/../../bin/busybox")];
            let error = bed.launch(&bed.plan(&own_pid(), &config), &pod, pipes().0).expect_err("refused");
            assert_eq!(error.step, Step::Lookup, "{error}");
        }
        // A directory of the host that the launcher has open, also for its children; its number is none that the launch
        // opens anything under.
        let open = rustix::fs::openat(CWD, c"/", rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty()).expect("/");
        let open = rustix::io::fcntl_dupfd_cloexec(&open, 500).expect("duplicate");
        rustix::io::fcntl_setfd(&open, rustix::io::FdFlags::empty()).expect("inheritable");
        let name = std::os::fd::AsRawFd::as_raw_fd(&open);
        let mut config = script("ls /proc/self/fd");
        assert_eq!(bed.run_plan(&pod, &bed.plan(&own_pid(), &config)).0, "0\n1\n2\n3\n");
        config.working_dir = format!("/proc/self/fd/{name}");
        let error = bed.launch(&bed.plan(&own_pid(), &config), &pod, pipes().0).expect_err("refused");
        assert_eq!(error.step, Step::WorkingDirectory, "{error}");
        let mut config = script("");
        config.command = vec![format!("/proc/self/fd/{name}/bin/busybox"), "true".to_owned()];
        let error = bed.launch(&bed.plan(&own_pid(), &config), &pod, pipes().0).expect_err("refused");
        assert_eq!(error.step, Step::Lookup, "{error}");
        // /proc as a link to files of the image.
        symlink("/tmp", layer.join("proc")).expect("link");
        let error = bed.launch(&bed.plan(&own_pid(), &script("ls")), &pod, pipes().0).expect_err("refused");
        assert_eq!((error.step, error.errno), (Step::Mount, Some(libc::ELOOP)), "{error}");
        bed.end(pod);
    });
}

#[test]
fn user_files_that_are_no_files_do_not_hang_the_launch() {
    bed(|bed| {
        fs::remove_file(bed.layer().join("etc/passwd")).expect("remove");
        nix::unistd::mkfifo(&bed.layer().join("etc/passwd"), nix::sys::stat::Mode::S_IRWXU).expect("fifo");
        let pod = bed.pod(&own_pid());
        let error = bed.launch(&bed.plan(&own_pid(), &script("ls")), &pod, pipes().0).expect_err("refused");
        assert_eq!(error.to_string(), "look up user in /etc/passwd: not a regular file");
        bed.end(pod);
    });
}

#[test]
fn a_terminal_is_the_containers_console_and_its_owner_the_user() {
    bed(|bed| {
        let mut config = script("tty; stat -c '%U %t:%T' /dev/console; stat -c %u:%g:%a $(tty); test -t 1 && echo yes");
        config.tty = true;
        config.security.run_as_user = Some(1000);
        let pod = bed.pod(&own_pid());
        let launched = bed.launch(&bed.plan(&own_pid(), &config), &pod, Stdio::Terminal).expect("launched");
        let text = read_console(launched.console);
        assert_eq!(text, "/dev/pts/0\r\napp 88:0\r\n1000:5:620\r\nyes\r\n");
        assert_eq!(wait(&launched.pidfd), 0);
        bed.end(pod);
    });
}

#[test]
fn the_oom_score_is_set_as_far_as_it_may_be() {
    bed(|bed| {
        let mut config = script("cat /proc/self/oom_score_adj");
        config.resources.oom_score_adj = 500;
        assert_eq!(bed.run(&own_pid(), &config).0, "500\n");
        // Needs CAP_SYS_RESOURCE; without it the launcher's own value stays, and the launch goes on.
        config.resources.oom_score_adj = -900;
        let output = bed.run(&own_pid(), &config).0;
        let own = fs::read_to_string("/proc/self/oom_score_adj").expect("read");
        assert!(output == "-900\n" || output == own, "{output}");
    });
}

#[test]
fn image_mounts_show_an_image_or_a_part_of_it() {
    bed(|bed| {
        let (top, bottom) = (bed.dir.join("top"), bed.dir.join("bottom"));
        for (layer, text) in [(&top, "top"), (&bottom, "bottom")] {
            fs::create_dir_all(layer.join("models/small")).expect("directory");
            fs::write(layer.join("models/small").join(text), text).expect("write");
        }
        let mut plan = bed.plan(&own_pid(), &script("ls /all/models/small /part /one; echo x > /part/x"));
        let image = |lower: Vec<PathBuf>, sub_path: &str, target: &str| plan::MountPlan {
            target: target.to_owned(),
            source: plan::MountSource::Image { lower, sub_path: sub_path.to_owned() },
            flags: plan::MountFlags { readonly: plan::ReadOnly::Plain, ..plan::MountFlags::default() },
        };
        plan.mounts.push(image(vec![top.clone(), bottom.clone()], "", "/all"));
        plan.mounts.push(image(vec![top.clone(), bottom], "models/small", "/part"));
        plan.mounts.push(image(vec![top.clone()], "models", "/one"));
        let pod = bed.pod(&own_pid());
        let (output, _) = bed.run_plan(&pod, &plan);
        let both = "bottom\ntop\n";
        let text = format!("/all/models/small:\n{both}\n/one:\nsmall\n\n/part:\n{both}");
        assert_eq!(output, format!("{text}/bin/sh: can't create /part/x: Read-only file system\n"));
        plan.mounts.push(image(vec![top], "models/none", "/none"));
        let error = bed.launch(&plan, &pod, pipes().0).expect_err("no such sub path");
        assert_eq!(error.to_string(), "mount image sub path models/none: no such file or directory");
        bed.end(pod);
    });
}

/// A mount of a host path.
pub(super) fn mount(host: &Path, container: &str) -> Mount {
    Mount {
        host_path: host.to_string_lossy().into_owned(),
        container_path: container.to_owned(),
        propagation: Propagation::Private,
        ..Mount::default()
    }
}
