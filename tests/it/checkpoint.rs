//! Checkpoints by criu, and containers made from them.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use berth::wire::{
    CheckpointContainerRequest, CheckpointContainerResponse, ContainerConfig, ContainerState, ImageSpec, Mount,
};
use tonic::{Code, Response, Status};

use crate::{
    cli::{berth, code},
    support::{BUSYBOX, Daemon, eventually, log_text, pod, refusal, security, shell},
};

const RESTORING: &str = "[runtime]\nrestore_checkpoints = true\n";

async fn checkpoint(
    daemon: &Daemon,
    container: &str,
    location: &Path,
) -> Result<Response<CheckpointContainerResponse>, Status> {
    let request = CheckpointContainerRequest {
        container_id: container.to_owned(),
        location: location.display().to_string(),
        timeout: 0,
    };
    daemon.runtime().checkpoint_container(request).await
}

fn from_checkpoint(mut config: ContainerConfig, archive: &Path) -> ContainerConfig {
    config.image = Some(ImageSpec { image: archive.display().to_string(), ..Default::default() });
    config
}

#[tokio::test]
async fn what_cannot_be_checkpointed_is_refused() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let pod_config = pod(&daemon, "p");
    let pod = daemon.run_pod(&pod_config).await;
    let archive = daemon.path("c.tar");
    let code = async |container: &str, location: &Path| refusal(checkpoint(&daemon, container, location).await).0;

    let container = daemon.create(&pod, &shell("c", "sleep 1000"), &pod_config).await;
    assert_eq!(code("nobody", &archive).await, Code::NotFound);
    assert_eq!(code(&container, Path::new("c.tar")).await, Code::InvalidArgument);
    assert_eq!(code(&container, Path::new("")).await, Code::InvalidArgument);
    assert_eq!(code(&container, &archive).await, Code::FailedPrecondition, "it does not run");

    let terminal = daemon.run(&pod, &ContainerConfig { tty: true, ..shell("t", "sleep 1000") }, &pod_config).await;
    let (code, message) = refusal(checkpoint(&daemon, &terminal, &archive).await);
    assert_eq!(code, Code::FailedPrecondition);
    assert!(message.contains("with a terminal"), "{message}");
    assert!(!archive.exists());

    // Restoring is a choice: without it, the path is the name of an image that is not there.
    fs::write(&archive, "no archive").expect("write");
    let created = daemon.try_create(&pod, &from_checkpoint(shell("r", "true"), &archive), &pod_config).await;
    assert!(matches!(created.expect_err("refused").code(), Code::InvalidArgument | Code::NotFound));
}

#[tokio::test]
async fn the_client_says_why_there_is_no_checkpoint() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let pod_config = pod(&daemon, "p");
    let pod = daemon.run_pod(&pod_config).await;
    let terminal = daemon.run(&pod, &ContainerConfig { tty: true, ..shell("t", "sleep 1000") }, &pod_config).await;
    for (container, wanted) in [(terminal.as_str(), "with a terminal"), ("nobody", "nobody")] {
        let output = berth(&daemon, &["checkpoint", container, "relative.tar"]).await;
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(code(&output) == 1 && stderr.contains(wanted), "{container}: {stderr}");
    }
    assert!(!Path::new("relative.tar").exists());
}

#[tokio::test]
async fn the_client_writes_a_checkpoint_where_it_is() {
    requires!(Root, Criu);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let pod_config = pod(&daemon, "p");
    let pod = daemon.run_pod(&pod_config).await;
    let container = daemon.run(&pod, &shell("c", "while :; do sleep 0.1; done"), &pod_config).await;
    let mut command = daemon.cli(&["checkpoint", "c", "c.tar"]);
    command.current_dir(daemon.path(""));
    let output = tokio::task::spawn_blocking(move || command.output().expect("run berth")).await.expect("the thread");
    assert!(output.status.success(), "{output:?}");
    let archive = fs::canonicalize(daemon.path("c.tar")).expect("the archive");
    assert_eq!(Path::new(String::from_utf8_lossy(&output.stdout).trim()), archive);
    assert_eq!(daemon.status(&container).await.state(), ContainerState::ContainerRunning);
}

#[tokio::test]
async fn an_archive_that_is_no_checkpoint_is_refused_and_leaves_nothing() {
    requires!(Root);
    let daemon = Daemon::start_with(RESTORING).await;
    daemon.import_busybox().await;
    let pod_config = pod(&daemon, "p");
    let pod = daemon.run_pod(&pod_config).await;
    let archive = daemon.path("c.tar");
    let containers = || {
        fs::read_dir(daemon.path("root/containers")).map_or(0, |entries| {
            entries.flatten().filter(|entry| !entry.file_name().to_string_lossy().starts_with('.')).count()
        })
    };
    for content in [b"no archive".to_vec(), vec![0; 1024]] {
        fs::write(&archive, content).expect("write");
        let created = daemon.try_create(&pod, &from_checkpoint(shell("r", "true"), &archive), &pod_config).await;
        created.expect_err("refused");
        assert_eq!(containers(), 0);
    }
}

#[tokio::test]
async fn a_container_goes_on_from_its_checkpoint() {
    requires!(Root, Criu);
    let daemon = Daemon::start_with(RESTORING).await;
    daemon.import_busybox().await;
    let source = daemon.path("mounted");
    fs::create_dir(&source).expect("make a directory");
    let script = "rm /etc/group; echo mine > /root/file; i=0; \
                  while :; do i=$((i+1)); echo $i | tee /mnt/count; sleep 1; done";
    let mut config = shell("c", script);
    config.mounts = vec![Mount {
        container_path: "/mnt".to_owned(),
        host_path: source.display().to_string(),
        ..Default::default()
    }];
    security(&mut config).masked_paths = ["/proc/timer_list", "/proc/acpi"].map(str::to_owned).into();
    let pod_config = pod(&daemon, "first");
    let first_pod = daemon.run_pod(&pod_config).await;
    let container = daemon.run(&first_pod, &config, &pod_config).await;
    let count = || fs::read_to_string(source.join("count")).ok().and_then(|text| text.trim().parse::<u32>().ok());
    eventually("it counts", async || count().is_some_and(|count| count >= 3)).await;

    let archive = daemon.path("c.tar");
    checkpoint(&daemon, &container, &archive).await.expect("checkpoint");
    assert_eq!(fs::metadata(&archive).expect("the archive").permissions().mode() & 0o777, 0o600);
    let names = Command::new("tar").arg("tf").arg(&archive).output().expect("tar").stdout;
    let names = String::from_utf8(names).expect("text");
    for wanted in ["config.dump", "spec.dump", "rootfs-diff.tar", "checkpoint/inventory.img", "checkpoint/pstree.img"] {
        assert!(names.lines().any(|name| name == wanted), "no {wanted} in {names}");
    }
    let then = count().expect("a count");
    eventually("it goes on", async || count().is_some_and(|count| count > then)).await;
    assert_eq!(daemon.status(&container).await.state(), ContainerState::ContainerRunning);

    daemon.stop(&container, 0).await;
    daemon.remove(&container).await;
    daemon.remove_pod(&first_pod).await;
    fs::write(source.join("count"), "0").expect("write");
    let pod_config = pod(&daemon, "second");
    let second_pod = daemon.run_pod(&pod_config).await;
    let restored = daemon.run(&second_pod, &from_checkpoint(config, &archive), &pod_config).await;
    eventually("it counts again", async || count().is_some_and(|count| count > then)).await;
    let status = daemon.status(&restored).await;
    assert_eq!(status.state(), ContainerState::ContainerRunning);
    assert!(status.image.as_ref().is_some_and(|image| image.image.contains(BUSYBOX)), "{status:?}");
    let first = log_text(&status).lines().next().and_then(|line| line.parse::<u32>().ok()).expect("a number");
    assert!((3..=then + 1).contains(&first), "it went on with {first}, and the checkpoint was made at {then}");

    let seen = async |script| daemon.exec(&restored, &["/bin/sh", "-c", script]).await;
    assert_eq!(seen("cat /root/file; test -e /etc/group || echo gone").await, "mine\ngone");
    assert_eq!(seen("hostname; ls -d /sys/fs/cgroup/*berth* 2>/dev/null | wc -l").await, "second\n0");
    assert_eq!(seen("wc -c < /proc/timer_list; ls /proc/acpi | wc -l").await, "0\n0", "they are masked");
    assert_eq!(seen("grep Seccomp: /proc/1/status; grep berth /proc/1/cgroup | wc -l").await, "Seccomp:\t2\n0");
    let pid = daemon.container_pid(&restored).await;
    let namespace = |name: &str| fs::read_link(format!("/proc/{pid}/ns/{name}")).expect("a namespace");
    for name in ["pid", "mnt", "net", "ipc", "uts", "cgroup"] {
        assert_ne!(namespace(name), fs::read_link(format!("/proc/self/ns/{name}")).expect("a namespace"), "{name}");
    }
    daemon.stop(&restored, 0).await;
    assert_eq!(daemon.status(&restored).await.exit_code, 137);

    // A configuration that does not fit what was dumped is refused in words, and the container has failed.
    let mut other = from_checkpoint(shell("o", "true"), &archive);
    other.mounts = vec![Mount {
        container_path: "/elsewhere".to_owned(),
        host_path: source.display().to_string(),
        ..Default::default()
    }];
    let other = daemon.create(&second_pod, &other, &pod_config).await;
    let error = daemon.try_start(&other).await.expect_err("refused");
    assert!(error.message().contains("/elsewhere: the checkpoint has no such mount"), "{}", error.message());
    assert_eq!(daemon.status(&other).await.reason, "StartError");
}
