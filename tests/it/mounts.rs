//! What containers find in their file system.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, symlink},
};

use berth::wire::{ContainerConfig, Device, Mount, MountPropagation};
use tonic::Code;

use crate::support::{Archive, Compression, Daemon, Layer, container, pod, refusal, security, shell};

fn mount(host: impl AsRef<std::path::Path>, path: &str) -> Mount {
    Mount { host_path: host.as_ref().display().to_string(), container_path: path.to_owned(), ..Default::default() }
}

fn with_mounts(mounts: Vec<Mount>) -> ContainerConfig {
    ContainerConfig { mounts, ..container("c", &["sleep", "1000"]) }
}

#[tokio::test]
async fn the_usual_file_systems_are_there() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let script = "while read _ point kind options _; do echo $point $kind ${options%%,*}; done < /proc/mounts";
    let (_, text) = daemon.run_to_end(&shell("c", script)).await;
    for wanted in [
        "/ overlay rw",
        "/proc proc rw",
        "/sys sysfs ro",
        "/dev tmpfs rw",
        "/dev/pts devpts rw",
        "/dev/mqueue mqueue rw",
        "/dev/shm tmpfs rw",
    ] {
        assert!(text.lines().any(|line| line == wanted), "no {wanted:?} in\n{text}");
    }
    assert!(text.lines().any(|line| line.starts_with("/sys/fs/cgroup")), "no cgroups in\n{text}");
}

#[tokio::test]
async fn a_start_changes_nothing_in_the_writable_layer() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let (_, container) = daemon.run_sleeper().await;
    let upper = daemon.path("root/containers").join(container).join("upper");
    let names: Vec<_> =
        fs::read_dir(&upper).expect("the writable layer").map(|entry| entry.expect("one").path()).collect();
    assert!(names.is_empty(), "{names:?}");
}

#[tokio::test]
async fn the_usual_devices_work() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let script = "set -e; echo x > /dev/null; head -c 4 /dev/zero | wc -c; head -c 4 /dev/urandom | wc -c; \
                  test -c /dev/full -a -c /dev/tty -a -e /dev/ptmx; echo to-fd > /dev/stdout; ls -A / | tr '\\n' ' '";
    let (status, text) = daemon.run_to_end(&shell("c", script)).await;
    assert_eq!(status.exit_code, 0, "{text}");
    assert!(text.starts_with("4\n4\nto-fd\n"), "{text}");
}

#[tokio::test]
async fn directories_and_files_are_mounted_and_told_as_they_were_asked_for() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let (data, file) = (daemon.path("data"), daemon.path("file"));
    fs::create_dir(&data).expect("make a directory");
    fs::write(&file, "content").expect("write a file");
    symlink(&data, daemon.path("link")).expect("make a link");
    let mounts = vec![
        mount(&data, "/srv/deep/data"),
        Mount { readonly: true, ..mount(&file, "/srv/file") },
        mount(daemon.path("link"), "/srv//link/"),
    ];
    let config = pod(&daemon, "p");
    let pod = daemon.run_pod(&config).await;
    let id = daemon.run(&pod, &with_mounts(mounts.clone()), &config).await;
    daemon.exec(&id, &["sh", "-c", "echo from inside > /srv/deep/data/new"]).await;
    assert_eq!(fs::read_to_string(data.join("new")).expect("the new file"), "from inside\n");
    assert_eq!(daemon.exec(&id, &["cat", "/srv/file"]).await, "content");
    assert_eq!(daemon.exec(&id, &["cat", "/srv/link/new"]).await, "from inside");
    let answer = daemon.try_exec(&id, &["sh", "-c", "echo x > /srv/file"], 5).await.expect("a response");
    assert!(String::from_utf8_lossy(&answer.stderr).contains("Read-only file system"), "{answer:?}");
    assert_eq!(daemon.status(&id).await.mounts, mounts);
}

#[tokio::test]
async fn links_of_the_image_do_not_lead_out() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let layer = Layer::new().symlink("srv", "../../../../../../tmp").symlink("etc/mtab2", "/proc/mounts");
    let image = Archive::busybox().with_layer(layer, Compression::Gzip);
    daemon.import(image.oci_layout(crate::support::BUSYBOX), "").await.expect("import");
    let data = daemon.path("data");
    fs::create_dir(&data).expect("make a directory");
    let marker = format!("berth-{}", daemon.mark());
    let config = pod(&daemon, "p");
    let pod = daemon.run_pod(&config).await;
    let id = daemon.run(&pod, &with_mounts(vec![mount(&data, &format!("/srv/{marker}"))]), &config).await;
    assert!(daemon.exec(&id, &["ls", "/tmp"]).await.contains(&marker));
    assert!(!std::path::Path::new("/tmp").join(&marker).exists(), "a mount point was made on the host");
}

#[tokio::test]
async fn propagation_is_as_asked_for() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let shared = daemon.path("shared");
    fs::create_dir(&shared).expect("make a directory");
    let run = |arguments: &[&str]| {
        let status = std::process::Command::new("mount").args(arguments).status().expect("run mount");
        assert!(status.success(), "mount {arguments:?}");
    };
    let path = shared.display().to_string();
    run(&["--bind", &path, &path]);
    run(&["--make-shared", &path]);
    let config = pod(&daemon, "p");
    let pod = daemon.run_pod(&config).await;
    let mut ids = Vec::new();
    for (name, propagation) in [
        ("private", MountPropagation::PropagationPrivate),
        ("slave", MountPropagation::PropagationHostToContainer),
        ("shared", MountPropagation::PropagationBidirectional),
    ] {
        let mut config_ = with_mounts(vec![Mount { propagation: propagation.into(), ..mount(&shared, "/m") }]);
        config_.metadata.as_mut().expect("metadata").name = name.to_owned();
        security(&mut config_).privileged = name == "shared";
        ids.push((name, daemon.run(&pod, &config_, &config).await));
    }
    let later = shared.join("later");
    fs::create_dir(&later).expect("make a directory");
    run(&["-t", "tmpfs", "tmpfs", &later.display().to_string()]);
    fs::write(later.join("word"), "hello").expect("write");
    for (name, id) in &ids {
        let seen = daemon.try_exec(id, &["cat", "/m/later/word"], 5).await.expect("a response").exit_code == 0;
        assert_eq!(seen, *name != "private", "{name}");
    }
    let (_, id) = &ids[2];
    daemon.exec(id, &["sh", "-c", "mkdir /m/back && mount -t tmpfs tmpfs /m/back && echo hi > /m/back/word"]).await;
    assert_eq!(fs::read_to_string(shared.join("back/word")).expect("mounted by the container"), "hi\n");
    for point in [shared.join("back"), later, shared.clone()] {
        let _ = nix::mount::umount2(&point, nix::mount::MntFlags::MNT_DETACH);
    }
}

#[tokio::test]
async fn the_root_can_be_read_only() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let mut config = shell("c", "echo x > /word; echo x > /dev/shm/word && echo shm writable");
    security(&mut config).readonly_rootfs = true;
    let (_, text) = daemon.run_to_end(&config).await;
    assert!(text.contains("Read-only file system") && text.contains("shm writable"), "{text}");
}

#[tokio::test]
async fn containers_of_one_image_do_not_see_each_others_changes() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let (_, text) = daemon.run_to_end(&shell("c", "rm /bin/vi; echo x > /etc/new; ls /bin/vi /etc/new")).await;
    assert!(text.contains("/etc/new"), "{text}");
    let (_, text) = daemon.run_to_end(&shell("c", "ls /bin/vi; test -e /etc/new || echo clean")).await;
    assert!(text.contains("/bin/vi\n") && text.contains("clean"), "{text}");
}

#[tokio::test]
async fn host_devices_are_given_with_their_permissions() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let config = pod(&daemon, "p");
    let pod = daemon.run_pod(&config).await;
    let mut with_device = container("c", &["sleep", "1000"]);
    with_device.devices = vec![Device {
        host_path: "/dev/kmsg".into(),
        container_path: "/dev/log-of-kernel".into(),
        permissions: "r".into(),
    }];
    let id = daemon.run(&pod, &with_device, &config).await;
    let inside = daemon.exec(&id, &["stat", "-c", "%t:%T", "/dev/log-of-kernel"]).await;
    let device = fs::metadata("/dev/kmsg").expect("the host's device").rdev();
    assert_eq!(inside, format!("{:x}:{:x}", device >> 8 & 0xfff, device & 0xff));
    let write = daemon.try_exec(&id, &["sh", "-c", "echo x > /dev/log-of-kernel"], 5).await.expect("a response");
    assert_ne!(write.exit_code, 0, "written to in spite of its permissions");
}

#[tokio::test]
async fn mounts_that_cannot_be_are_refused_and_leave_nothing() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let config = pod(&daemon, "p");
    let pod = daemon.run_pod(&config).await;
    let rro = |readonly, propagation: MountPropagation| Mount {
        readonly,
        recursive_read_only: true,
        propagation: propagation.into(),
        ..mount("/tmp", "/m")
    };
    for (wrong, what) in [
        (mount("", "/m"), "an empty source"),
        (mount("/tmp", ""), "an empty target"),
        (mount("/tmp", "relative"), "a relative target"),
        (rro(false, MountPropagation::PropagationPrivate), "recursively read-only, but not read-only"),
        (rro(true, MountPropagation::PropagationBidirectional), "recursively read-only and shared"),
    ] {
        let answer = daemon.try_create(&pod, &with_mounts(vec![wrong]), &config).await;
        assert_eq!(refusal(answer.map(tonic::Response::new)).0, Code::InvalidArgument, "{what}");
    }
    let impossible = with_mounts(vec![mount("/etc/passwd/below-a-file", "/m")]);
    let answer = match daemon.try_create(&pod, &impossible, &config).await {
        Ok(id) => daemon.try_start(&id).await,
        Err(status) => Err(status),
    };
    let (_, message) = refusal(answer.map(tonic::Response::new));
    assert!(message.contains("below-a-file"), "{message}");
}

/// As other engines do: kubelet's callers rely on it, and critest checks it.
#[tokio::test]
async fn a_missing_source_is_made_as_a_directory() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let source = daemon.path("missing/source");
    let mut config = shell("c", "echo word > /m/file");
    config.mounts = vec![mount(&source, "/m")];
    daemon.run_to_end(&config).await;
    assert_eq!(fs::read_to_string(source.join("file")).expect("the file"), "word\n");
}
