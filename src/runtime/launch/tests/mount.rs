//! Bind mounts: read-only, recursive, propagation, sources and targets.

use rustix::mount::{MountFlags, UnmountFlags};

use super::{container::mount, *};
use crate::types::Propagation;

fn tmpfs(path: &Path) {
    rustix::mount::mount(c"tmpfs", path, c"tmpfs", MountFlags::empty(), None).expect("tmpfs");
}

fn unmount(path: &Path) {
    rustix::mount::unmount(path, UnmountFlags::DETACH).expect("unmount");
}

#[test]
fn read_only_is_recursive_only_when_it_is_asked_for() {
    bed(|bed| {
        let data = bed.dir.join("data");
        fs::create_dir_all(data.join("below")).expect("directory");
        tmpfs(&data.join("below"));
        let mut config = script("echo x > /plain/x; echo y > /plain/below/y; echo x > /deep/x; echo z > /deep/below/z");
        let mut plain = mount(&data, "/plain");
        plain.readonly = true;
        let mut deep = mount(&data, "/deep");
        (deep.readonly, deep.recursive_read_only) = (true, true);
        config.mounts = vec![plain, deep];
        let (output, _) = bed.run(&own_pid(), &config);
        assert_eq!(
            output,
            "/bin/sh: can't create /plain/x: Read-only file system\n\
             /bin/sh: can't create /deep/x: Read-only file system\n\
             /bin/sh: can't create /deep/below/z: Read-only file system\n"
        );
        assert!(data.join("below/y").exists(), "the host's own mount is read-only now");
        unmount(&data.join("below"));
    });
}

#[test]
fn sources_are_followed_on_the_host_and_made_when_they_are_missing() {
    bed(|bed| {
        fs::create_dir(bed.dir.join("real")).expect("directory");
        fs::write(bed.dir.join("real/file"), "real\n").expect("write");
        symlink(bed.dir.join("real"), bed.dir.join("link")).expect("link");
        fs::write(bed.dir.join("single"), "single\n").expect("write");
        let mut config = script("cat /a/file /b/c/single; ls -d /missing");
        config.mounts = vec![
            mount(&bed.dir.join("link"), "/a"),
            mount(&bed.dir.join("single"), "/b/c/single"),
            mount(&bed.dir.join("not/there/yet"), "/missing"),
        ];
        let (output, _) = bed.run(&own_pid(), &config);
        assert_eq!(output, "real\nsingle\n/missing\n");
        let made = fs::metadata(bed.dir.join("not/there/yet")).expect("made");
        assert!(made.is_dir());
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&made.permissions()) & 0o7777, 0o755);
    });
}

#[test]
fn mounts_pass_between_host_and_container_only_as_asked() {
    bed(|bed| {
        let shared = bed.dir.join("shared");
        fs::create_dir(&shared).expect("directory");
        tmpfs(&shared);
        mount_change(&shared, MountPropagationFlags::SHARED).expect("shared");
        for name in ["host", "container", "late"] {
            fs::create_dir(shared.join(name)).expect("directory");
        }
        let mut config = script(
            "mount -t tmpfs none /both/container && echo x > /both/container/x; echo ready; \
             while ! test -e /both/late/y; do sleep 0.01; done; ls /both/late /down/late /private/late",
        );
        config.security.privileged = true;
        let with = |target: &str, propagation| {
            let mut mount = mount(&shared, target);
            mount.propagation = propagation;
            mount
        };
        config.mounts = vec![
            with("/both", Propagation::Bidirectional),
            with("/down", Propagation::HostToContainer),
            with("/private", Propagation::Private),
        ];
        let plan = bed.plan(&own_pid(), &config);
        let pod = bed.pod(&own_pid());
        let (stdio, mut output) = pipes();
        let launched = bed.launch(&plan, &pod, stdio).expect("launched");
        let mut ready = [0; 6];
        output.read_exact(&mut ready).expect("ready");
        assert!(shared.join("container/x").exists(), "the container's mount is not seen on the host");
        tmpfs(&shared.join("late"));
        fs::write(shared.join("late/y"), "").expect("write");
        let mut text = String::new();
        output.read_to_string(&mut text).expect("output");
        assert_eq!(text, "/both/late:\ny\n\n/down/late:\ny\n\n/private/late:\n");
        wait(&launched.pidfd);
        bed.end(pod);
        for path in ["late", "container", ""] {
            unmount(&shared.join(path));
        }
    });
}

#[test]
fn propagation_needs_a_shared_source() {
    bed(|bed| {
        let data = bed.dir.join("data");
        fs::create_dir(&data).expect("directory");
        let pod = bed.pod(&own_pid());
        for (propagation, reason) in [
            (Propagation::Bidirectional, "is not on a shared mount"),
            (Propagation::HostToContainer, "is neither on a shared nor a slave mount"),
        ] {
            let mut config = script("true");
            config.mounts = vec![mount(&data, "/data")];
            config.mounts[0].propagation = propagation;
            let error = bed.launch(&bed.plan(&own_pid(), &config), &pod, pipes().0).expect_err("refused");
            assert_eq!(error.to_string(), format!("mount {} {reason}", data.display()));
        }
        bed.end(pod);
    });
}

#[test]
fn a_mount_on_dev_replaces_all_of_it() {
    bed(|bed| {
        let dev = bed.dir.join("dev");
        fs::create_dir(&dev).expect("directory");
        fs::write(dev.join("only"), "").expect("write");
        let mut config = script("ls /dev");
        config.mounts = vec![mount(&dev, "/dev")];
        assert_eq!(bed.run(&own_pid(), &config).0, "only\nshm\n");
    });
}
