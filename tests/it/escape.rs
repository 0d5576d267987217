//! Ways out of containers that have worked on other engines: each is tried from inside, and leads nowhere.

use std::{fs, path::Path};

use berth::wire::{Capability, LinuxContainerSecurityContext, Mount, NamespaceMode, PodSandboxConfig};

use crate::support::{Archive, BUSYBOX, Compression, Daemon, Layer, container, pod, security, shell};

/// What kubelet hides and protects in a container that is not privileged.
fn as_kubelet(context: &mut LinuxContainerSecurityContext) {
    let paths = |paths: &[&str]| paths.iter().map(|&path| path.to_owned()).collect();
    context.masked_paths = paths(&["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"]);
    context.readonly_paths = paths(&["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]);
}

fn add_capabilities(context: &mut LinuxContainerSecurityContext, names: &[&str]) {
    let add_capabilities = names.iter().map(|&name| name.to_owned()).collect();
    context.capabilities = Some(Capability { add_capabilities, ..Default::default() });
}

fn shares_processes(config: &mut PodSandboxConfig) {
    let linux = config.linux.get_or_insert_default();
    let context = linux.security_context.get_or_insert_default();
    context.namespace_options.get_or_insert_default().pid = NamespaceMode::Pod.into();
}

/// The numbers of a process's descriptors, in order.
fn descriptors(pid: i32) -> Vec<u32> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).expect("the process");
    let name = |entry: std::io::Result<fs::DirEntry>| entry.ok()?.file_name().to_str()?.parse().ok();
    let mut numbers: Vec<u32> = entries.filter_map(name).collect();
    numbers.sort_unstable();
    numbers
}

#[tokio::test]
async fn no_descriptor_of_the_engine_gets_in() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let config = pod(&daemon, "p");
    let pod = daemon.run_pod(&config).await;
    for (name, stdin, tty) in [("plain", false, false), ("input", true, false), ("terminal", true, true)] {
        let mut container = container(name, &["sleep", "1000"]);
        (container.stdin, container.tty) = (stdin, tty);
        let id = daemon.run(&pod, &container, &config).await;
        assert_eq!(descriptors(daemon.container_pid(&id).await), [0, 1, 2], "{name}");
        // The shell's own: `ls` looks at its parent.
        assert_eq!(daemon.exec(&id, &["sh", "-c", "ls /proc/$$/fd; true"]).await, "0\n1\n2", "exec in {name}");
    }
}

#[tokio::test]
async fn settings_of_the_kernel_stay_as_they_are() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let settings = ["/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/sys/kernel/uevent_helper"];
    let read = || settings.map(|path| fs::read_to_string(path).unwrap_or_default());
    let before = read();
    let script =
        settings.iter().chain(&["/proc/sysrq-trigger", "/proc/sys/vm/drop_caches", "/proc/irq/0/smp_affinity"]);
    let script: String = script.map(|path| format!("(echo h > {path}) 2>/dev/null && echo wrote {path}\n")).collect();
    let mut config = shell("c", &format!("{script}echo tried"));
    as_kubelet(security(&mut config));
    assert_eq!(daemon.run_to_end(&config).await.1, "tried\n");
    assert_eq!(read(), before);
}

#[tokio::test]
async fn cgroups_cannot_be_mounted_or_told_to_run_something() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let script = "mkdir -p /tmp/c\n\
        mount -t cgroup -o memory none /tmp/c 2>/dev/null && echo mounted v1\n\
        mount -t cgroup2 none /tmp/c 2>/dev/null && echo mounted v2\n\
        unshare -m true 2>/dev/null && echo unshared\n\
        for f in /sys/fs/cgroup/release_agent /sys/fs/cgroup/*/release_agent /sys/fs/cgroup/*/notify_on_release; do\n\
        (echo 1 > $f) 2>/dev/null && echo wrote $f\n\
        done\n\
        mkdir /sys/fs/cgroup/x /sys/fs/cgroup/*/x 2>/dev/null && echo made\n\
        echo tried";
    let mut config = shell("c", script);
    as_kubelet(security(&mut config));
    assert_eq!(daemon.run_to_end(&config).await.1, "tried\n");
}

/// What a container that may look into other processes finds: the engine's are there for a moment when an exec begins,
/// and for long when a pod shares its processes.
#[tokio::test]
async fn processes_of_the_engine_lead_nowhere() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let mut config = pod(&daemon, "p");
    shares_processes(&mut config);
    let pod = daemon.run_pod(&config).await;
    // A file that only the host has.
    let secret = daemon.path("config.toml");
    let secret = secret.display();
    let script = format!(
        "echo began\n\
         while ! [ -e /stop ]; do for p in /proc/[0-9]*; do\n\
         [ $p = /proc/$$ ] && continue\n\
         [ -e $p/root{secret} ] && echo root of $p\n\
         [ -e $p/cwd/../../../../../../..{secret} ] && echo directory of $p\n\
         case $(readlink $p/exe) in *berth*) (echo x > $p/exe) 2>/dev/null && echo wrote the program of $p;; esac\n\
         for f in $p/fd/*; do [ -e $f/../../../../../../..{secret} ] && echo descriptor $f; done\n\
         done; done 2>/dev/null\n\
         echo x 2>/dev/null > /proc/1/mem && echo wrote the memory of init\n\
         kill -9 1; echo stopped"
    );
    let mut snoop = shell("snoop", &script);
    add_capabilities(security(&mut snoop), &["SYS_PTRACE"]);
    snoop.linux.as_mut().and_then(|linux| linux.security_context.as_mut()).expect("one").namespace_options =
        config.linux.as_ref().and_then(|linux| linux.security_context.as_ref()).expect("one").namespace_options.clone();
    let id = daemon.run(&pod, &snoop, &config).await;
    for _ in 0..30 {
        daemon.exec(&id, &["true"]).await;
    }
    daemon.exec(&id, &["touch", "/stop"]).await;
    let status = daemon.wait_for_end(&id).await;
    assert_eq!(crate::support::log_text(&status), "began\nstopped\n");
}

/// A container swaps a directory that another one's mount goes into for a link to the root, as fast as it can.
#[tokio::test]
async fn a_mount_target_that_is_swapped_for_a_link_stays_inside() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let layer = Layer::new().symlink("out", "../../../../../../tmp").symlink("absolute", "/proc/1/root/tmp");
    let image = Archive::busybox().with_layer(layer, Compression::Gzip);
    daemon.import(image.oci_layout(BUSYBOX), "").await.expect("import");
    let config = pod(&daemon, "p");
    let pod = daemon.run_pod(&config).await;
    let shared = daemon.path("shared");
    fs::create_dir(&shared).expect("make a volume");
    let volume = |target: &str| Mount {
        host_path: shared.display().to_string(),
        container_path: target.to_owned(),
        ..Default::default()
    };
    let mut racer = shell(
        "racer",
        "cd /vol; mkdir real; ln -s / link\n\
         while true; do mv -T real swap; mv -T swap real; mv -T link swap; mv -T swap link; done 2>/dev/null",
    );
    racer.mounts = vec![volume("/vol")];
    let racer = daemon.run(&pod, &racer, &config).await;
    let mark = format!("{}-inside", daemon.mark());
    let places = [format!("/vol/swap/{mark}"), format!("/out/{mark}"), format!("/absolute/{mark}")];
    for round in 0..15 {
        for (number, place) in places.iter().enumerate() {
            let mut container = shell(&format!("c-{round}-{number}"), "true");
            container.mounts = vec![volume("/vol"), volume(place)];
            let id = daemon.create(&pod, &container, &config).await;
            // A target that goes away under the engine's hands may well be an error.
            if daemon.try_start(&id).await.is_ok() {
                daemon.wait_for_end(&id).await;
            }
            daemon.remove(&id).await;
        }
    }
    daemon.stop(&racer, 0).await;
    for outside in [format!("/{mark}"), format!("/tmp/{mark}")] {
        assert!(!Path::new(&outside).exists(), "{outside} was made on the host");
    }
    let mounts = fs::read_to_string("/proc/thread-self/mountinfo").expect("the mount table");
    assert!(!mounts.contains(&mark), "something was mounted on the host");
}
