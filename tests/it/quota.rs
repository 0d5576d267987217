//! Limits of writable layers: kept where the file system can do it, refused where it cannot.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use berth::{
    sys::quota::{self, Amount},
    wire::{ContainerConfig, ContainerStatsRequest, Mount},
};
use nix::mount::{MntFlags, umount2};
use tonic::Code;

use crate::support::{Daemon, container, eventually, own_mounts, pod, refusal, security};

const ANNOTATION: &str = "berth.run/writable-layer-limit";
const MIB: u64 = 1 << 20;

/// An ext4 with quotas of projects in a file, mounted where only this test's thread and what it starts see it. It is gone
/// with the guard.
struct QuotaDisk {
    path: PathBuf,
}

impl QuotaDisk {
    /// Puts a daemon's root on it; `configuration` is added to the daemon's.
    async fn below(daemon: &mut Daemon, configuration: &str) -> Self {
        own_mounts();
        daemon.terminate().await;
        let (image, path) = (daemon.path("disk"), daemon.path("root"));
        File::create(&image).and_then(|file| file.set_len(192 * MIB)).expect("make a file for the disk");
        must_run(Command::new("mkfs.ext4").arg("-q").arg(&image));
        // As the engine says that it is to be done.
        must_run(Command::new("tune2fs").args(["-O", "project", "-Q", "prjquota"]).arg(&image));
        must_run(Command::new("mount").args(["-o", "loop,prjquota"]).args([&image, &path]));
        let disk = Self { path };
        add_configuration(daemon, configuration);
        daemon.start_again().await;
        daemon.import_busybox().await;
        disk
    }

    /// What a project takes and what it may take.
    fn quota(&self, project: u32) -> (Amount, Amount) {
        let root = File::open(&self.path).expect("open the disk");
        (quota::usage(&root, project).expect("its usage"), quota::limit(&root, project).expect("its limit"))
    }
}

impl Drop for QuotaDisk {
    fn drop(&mut self) {
        let _ = umount2(&self.path, MntFlags::MNT_DETACH);
    }
}

fn must_run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Adds to a daemon's configuration; returns what it was before.
fn add_configuration(daemon: &Daemon, text: &str) -> String {
    let path = daemon.path("config.toml");
    let before = fs::read_to_string(&path).expect("read the configuration");
    fs::write(path, format!("{before}{text}")).expect("write the configuration");
    before
}

fn sleeper(name: &str, limit: &str) -> ContainerConfig {
    let annotations = [(ANNOTATION.to_owned(), limit.to_owned())].into();
    ContainerConfig { annotations, ..container(name, &["sleep", "1000"]) }
}

/// The project of a container's writable layer, as the engine has written it down.
fn project(daemon: &Daemon, container: &str) -> u32 {
    let path = daemon.path("root/containers").join(container).join("snapshot.json");
    let record: serde_json::Value = serde_json::from_slice(&fs::read(path).expect("read the record")).expect("JSON");
    record["quota"]["project"].as_u64().and_then(|number| number.try_into().ok()).expect("a project")
}

/// Size of a container's root, KiB.
async fn size(daemon: &Daemon, container: &str) -> u64 {
    kibibytes(&daemon.exec(container, &["df", "-k", "/"]).await)
}

/// The second column of what `df -k` says.
fn kibibytes(text: &str) -> u64 {
    let fields = text.lines().last().expect("a line").split_whitespace();
    fields.skip(1).find_map(|field| field.parse().ok()).unwrap_or_else(|| panic!("no size in {text}"))
}

/// Tries to write 16 MiB into a container's root; returns what was said and how much was written.
async fn fill(daemon: &Daemon, container: &str) -> (String, u64) {
    let script = "dd if=/dev/zero of=/filler bs=64k count=256 2>&1; stat -c %s /filler";
    let said = daemon.exec(container, &["sh", "-c", script]).await;
    let written = said.lines().last().and_then(|size| size.parse().ok()).unwrap_or_else(|| panic!("{said}"));
    (said, written)
}

async fn must_be_full_at(daemon: &Daemon, container: &str, limit: u64) {
    let (said, written) = fill(daemon, container).await;
    assert!(said.contains("Disk quota exceeded"), "{said}");
    assert!((limit - MIB / 4..=limit).contains(&written), "{written} of {limit}: {said}");
}

/// Runs a verb with the daemon's settings.
async fn berth(daemon: &Daemon, verb: &[&str]) -> Output {
    let mut command = daemon.cli(verb);
    command.stdin(Stdio::null());
    tokio::task::spawn_blocking(move || command.output().expect("run berth")).await.expect("the thread")
}

#[tokio::test]
async fn a_limited_container_gets_no_more_and_its_neighbour_goes_on() {
    requires!(Root, ProjectQuotas);
    let mut daemon = Daemon::start().await;
    let disk = QuotaDisk::below(&mut daemon, "").await;
    let config = pod(&daemon, "p");
    let pod = daemon.run_pod(&config).await;
    let limited = daemon.run(&pod, &sleeper("limited", "4Mi"), &config).await;
    let free = daemon.run(&pod, &container("free", &["sleep", "1000"]), &config).await;
    assert_eq!(size(&daemon, &limited).await, 4 << 10);
    assert!(size(&daemon, &free).await > 100 << 10);

    must_be_full_at(&daemon, &limited, 4 * MIB).await;
    let (said, written) = fill(&daemon, &free).await;
    assert_eq!(written, 16 * MIB, "{said}");
    let request = ContainerStatsRequest { container_id: limited.clone() };
    let stats = daemon.runtime().container_stats(request).await.expect("stats").into_inner().stats.expect("stats");
    let layer = stats.writable_layer.expect("its writable layer");
    let used = layer.used_bytes.expect("bytes").value;
    assert!((4 * MIB - MIB / 4..=4 * MIB).contains(&used), "{layer:?}");
    // The file, the directories of the layer and of overlayfs, and places of mounts.
    assert!((3..40).contains(&layer.inodes_used.expect("inodes").value), "{layer:?}");

    let script = "rm /filler; i=0; while [ $i -lt 1500 ] && echo -n > /empty$i; do i=$((i+1)); done 2>&1; echo $i";
    let said = daemon.exec(&limited, &["sh", "-c", script]).await;
    let made: u64 = said.lines().last().and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("{said}"));
    assert!(made < 4 * MIB / 4096 && made > 900 && said.contains("Disk quota exceeded"), "{said}");
    daemon.exec(&free, &["sh", "-c", "echo more > /more"]).await;

    let number = project(&daemon, &limited);
    daemon.remove(&limited).await;
    eventually("nothing of it is left", async || disk.quota(number) == Default::default()).await;
    let next = daemon.run(&pod, &sleeper("next", "2Mi"), &config).await;
    assert_eq!((project(&daemon, &next), size(&daemon, &next).await), (number, 2 << 10), "it was not given back");
    daemon.remove_pod(&pod).await;
    daemon.terminate().await;
}

#[tokio::test]
async fn a_container_cannot_take_its_files_out_of_its_limit() {
    requires!(Root, ProjectQuotas);
    let mut daemon = Daemon::start().await;
    let _disk = QuotaDisk::below(&mut daemon, "").await;
    let config = pod(&daemon, "p");
    let pod = daemon.run_pod(&config).await;
    // Busybox has no chattr(1) that knows projects; the host's needs the host's libraries. It sets the flags first, and
    // takes what is no ioctl for something that is not supported.
    let host = Mount { host_path: "/usr".into(), container_path: "/host".into(), readonly: true, ..Default::default() };
    let libraries = "/host/lib/x86_64-linux-gnu";
    let loader = format!("{libraries}/ld-linux-x86-64.so.2");
    let chattr = [&loader, "--library-path", libraries, "/host/bin/chattr"];
    let mut unconfined = sleeper("unconfined", "8Mi");
    security(&mut unconfined).seccomp = None;
    for mut limited in [sleeper("limited", "8Mi"), unconfined, container("free", &["sleep", "1000"])] {
        limited.mounts.push(host.clone());
        let id = daemon.run(&pod, &limited, &config).await;
        daemon.exec(&id, &["mkdir", "/directory"]).await;
        daemon.exec(&id, &["touch", "/file"]).await;
        // To no project, and to no project for what will be in it.
        for change in [&["-p", "0", "/file"][..], &["-P", "/directory"]] {
            let answer = daemon.try_exec(&id, &[&chattr[..], change].concat(), 30).await.expect("execute");
            let said = String::from_utf8_lossy(&answer.stderr);
            assert!(answer.exit_code != 0 && said.contains("not supported"), "{change:?}: {said}");
        }
        if limited.annotations.contains_key(ANNOTATION) {
            must_be_full_at(&daemon, &id, 8 * MIB).await;
        }
    }
    daemon.remove_pod(&pod).await;
    daemon.terminate().await;
}

#[tokio::test]
async fn limits_outlive_the_daemon_and_their_projects_are_not_lost() {
    requires!(Root, ProjectQuotas);
    let mut daemon = Daemon::start().await;
    let disk = QuotaDisk::below(&mut daemon, "").await;
    let config = pod(&daemon, "p");
    let pod = daemon.run_pod(&config).await;
    let first = daemon.run(&pod, &sleeper("first", "8Mi"), &config).await;
    let number = project(&daemon, &first);
    daemon.kill();
    daemon.start_again().await;
    must_be_full_at(&daemon, &first, 8 * MIB).await;
    let second = daemon.run(&pod, &sleeper("second", "4Mi"), &config).await;
    assert_ne!(project(&daemon, &second), number);

    daemon.remove(&first).await;
    daemon.kill();
    daemon.start_again().await;
    eventually("nothing is left of what was removed", async || disk.quota(number) == Default::default()).await;
    must_be_full_at(&daemon, &second, 4 * MIB).await;
    daemon.remove_pod(&pod).await;
    daemon.terminate().await;
}

#[tokio::test]
async fn the_hosts_limit_is_for_those_that_ask_for_none_and_its_maximum_for_all() {
    requires!(Root, ProjectQuotas);
    let mut daemon = Daemon::start().await;
    let limits = "[containers]\nwritable_layer_limit = \"8MiB\"\nwritable_layer_maximum = \"16MiB\"\n";
    let before = add_configuration(&daemon, "");
    let _disk = QuotaDisk::below(&mut daemon, limits).await;
    let mut config = pod(&daemon, "p");
    let pod = daemon.run_pod(&config).await;
    let id = daemon.run(&pod, &container("default", &["sleep", "1000"]), &config).await;
    assert_eq!(size(&daemon, &id).await, 8 << 10);
    let id = daemon.run(&pod, &sleeper("more", "12Mi"), &config).await;
    assert_eq!(size(&daemon, &id).await, 12 << 10);
    let (code, message) =
        refusal(daemon.try_create(&pod, &sleeper("much", "32Mi"), &config).await.map(tonic::Response::new));
    assert_eq!(code, Code::InvalidArgument, "{message}");
    assert!(message.contains("16MiB at most"), "{message}");
    daemon.remove_pod(&pod).await;

    config.annotations.insert(ANNOTATION.to_owned(), "2Mi".to_owned());
    let pod = daemon.run_pod(&config).await;
    let id = daemon.run(&pod, &container("of-the-pod", &["sleep", "1000"]), &config).await;
    assert_eq!(size(&daemon, &id).await, 2 << 10);
    daemon.remove_pod(&pod).await;

    let output = berth(&daemon, &["run", "--rm", "--storage-opt", "size=3m", "busybox", "df", "-k", "/"]).await;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(kibibytes(&String::from_utf8_lossy(&output.stdout)), 3 << 10);
    daemon.terminate().await;
    // Without the disk, the daemon would not start for the guard's last look.
    fs::write(daemon.path("config.toml"), before).expect("write the configuration");
}

#[tokio::test]
async fn a_limit_that_cannot_be_kept_is_refused() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let config = pod(&daemon, "p");
    let pod = daemon.run_pod(&config).await;
    for (limit, code, part) in [
        (
            "8Mi",
            Code::FailedPrecondition,
            "mount ext4 (prepared by `tune2fs -O project -Q prjquota`) with the option prjquota",
        ),
        ("8", Code::InvalidArgument, "1MiB at least"),
        ("much", Code::InvalidArgument, "\"much\" is not a size"),
    ] {
        let created = daemon.try_create(&pod, &sleeper("c", limit), &config).await;
        let (refused, message) = refusal(created.map(tonic::Response::new));
        assert_eq!(refused, code, "{message}");
        assert!(message.contains(part), "{message}");
    }
    let id = daemon.run(&pod, &container("c", &["sleep", "1000"]), &config).await;
    assert_eq!(daemon.exec(&id, &["echo", "alive"]).await, "alive");
    daemon.remove_pod(&pod).await;

    let output = berth(&daemon, &["run", "--rm", "--storage-opt", "size=8m", "busybox", "true"]).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("prjquota"), "{output:?}");
    eventually("nothing is left of what was refused", async || daemon.leftovers().files.is_empty()).await;
}

#[tokio::test]
async fn a_limit_for_all_that_cannot_be_kept_keeps_the_daemon_from_starting() {
    requires!(Root);
    let mut daemon = Daemon::start().await;
    daemon.terminate().await;
    let before = add_configuration(&daemon, "[containers]\nwritable_layer_limit = \"8MiB\"\n");
    assert!(!daemon.try_start_again(&[]).await, "it started");
    assert!(daemon.output().contains("mount ext4"), "{}", daemon.output());
    let mut check = daemon.cli(&["check", "--config"]);
    let output = check.arg(daemon.path("config.toml")).output().expect("run berth");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success(), "{said}");
    let line = said.lines().find(|line| line.starts_with("ERROR") && line.contains("limits"));
    assert!(line.is_some_and(|line| line.contains("keeps no quotas of projects")), "{said}");
    fs::write(daemon.path("config.toml"), before).expect("write the configuration");
}
