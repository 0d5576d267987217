//! Launches against the kernel, as root, with a static busybox as the image. Each test runs in a process and a mount
//! namespace of its own, so that nothing is left when it fails.

mod confine;
mod container;
mod exec;
mod hooks;
mod mount;
mod pod;

use std::{
    fs,
    io::Read as _,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::symlink,
    },
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU8, Ordering},
};

use nix::sched::{CloneFlags, unshare};
use rustix::{
    fs::CWD,
    mount::{MountPropagationFlags, mount_change},
    process::{WaitId, WaitIdOptions, waitid},
};

use super::*;
use crate::{
    runtime::{
        cgroup::Hierarchy,
        plan::{self, ContainerPlan, ContainerRequest, HostFacts, ImageDefaults, RootfsPlan},
    },
    sys::isolate::isolated,
    types::{ContainerConfig, Id, NamespaceMode, PodConfig},
};

/// A directory with an image, a pod's directory and a container's directories.
struct Bed {
    dir: PathBuf,
    id: Id,
    facts: HostFacts,
}

/// As [`bed`], on a file system that can map ids; elsewhere (tmpfs before Linux 6.3) the test is skipped.
fn mapping_bed(test: impl FnOnce(&Bed)) {
    bed(|bed| {
        let pod = bed.pod(&confine::mapped(NamespaceMode::Container));
        let user = pod.user.as_ref().expect("user namespace");
        let tree = crate::sys::mount::clone_path(bed.layer().as_path(), false).expect("tree");
        let idmap = crate::sys::mount_attr::Attributes { idmap: Some(user.as_fd()), ..Default::default() };
        let mapped = idmap.apply(&tree, false);
        drop(tree);
        bed.end(pod);
        match mapped {
            Ok(()) => test(bed),
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::EINVAL), "{error}"),
        }
    });
}

/// Runs a test in a process of its own, and cleans up.
fn bed(test: impl FnOnce(&Bed)) {
    static COUNT: AtomicU8 = AtomicU8::new(0);
    let dir = tempfile::tempdir().expect("directory");
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&std::process::id().to_be_bytes());
    bytes[4] = COUNT.fetch_add(1, Ordering::Relaxed);
    let bed = Bed { dir: dir.path().to_owned(), id: Id::from_bytes(bytes), facts: HostFacts::detect().expect("facts") };
    make_image(&bed.layer());
    for name in ["pod", "upper", "work"] {
        fs::create_dir(bed.dir.join(name)).expect("directory");
    }
    // A test that fails leaves its containers running: they are ended before it is told.
    let result = catch_unwind(AssertUnwindSafe(|| {
        isolated(|| {
            unshare(CloneFlags::CLONE_NEWNS).expect("mount namespace");
            mount_change(c"/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).expect("private");
            test(&bed);
        });
    }));
    let cgroup = Hierarchy::detect().expect("cgroups").open(&bed.cgroup());
    let left = cgroup.processes().unwrap_or_default();
    cgroup.kill().expect("kill");
    cgroup.remove().expect("remove");
    if let Err(panic) = result {
        resume_unwind(panic);
    }
    assert_eq!(left, [0; 0], "processes were left");
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    assert!(!mounts.contains(&*bed.dir.to_string_lossy()), "mounts were left");
}

fn make_image(layer: &Path) {
    for directory in ["bin", "etc", "tmp"] {
        fs::create_dir_all(layer.join(directory)).expect("directory");
    }
    fs::copy("/bin/busybox", layer.join("bin/busybox")).expect("busybox");
    for applet in ["sh", "cat", "id", "true", "sleep", "stat", "echo", "mkdir", "mount", "pwd", "tty", "kill", "test"] {
        symlink("busybox", layer.join("bin").join(applet)).expect("link");
    }
    fs::copy("/bin/busybox", layer.join("bin/ls")).expect("a program that is no link");
    fs::write(layer.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n")
        .expect("passwd");
    fs::write(layer.join("etc/group"), "root:x:0:\napp:x:1000:\nvideo:x:44:app\n").expect("group");
}

impl Bed {
    fn layer(&self) -> PathBuf {
        self.dir.join("layer")
    }

    fn pod_dir(&self) -> PathBuf {
        self.dir.join("pod")
    }

    fn cgroup(&self) -> String {
        format!("/berth-test-{}", self.id)
    }

    fn pod(&self, config: &PodConfig) -> PodInit {
        let mut plan = plan::pod(&self.id, &self.pod_dir(), config, &self.facts).expect("planned");
        plan.cgroup = Some(format!("{}/init", self.cgroup()));
        pod(&plan).expect("launched")
    }

    fn plan(&self, pod: &PodConfig, config: &ContainerConfig) -> ContainerPlan {
        let request = ContainerRequest {
            cdi: &crate::runtime::cdi::Edits::default(),
            id: &self.id,
            pod_id: &self.id,
            pod,
            config,
            image: &ImageDefaults::default(),
            rootfs: RootfsPlan {
                lower: vec![self.layer()],
                upper: self.dir.join("upper"),
                work: self.dir.join("work"),
                fixed_projects: false,
            },
            pod_dir: &self.pod_dir(),
            image_mounts: Vec::new(),
            cgroup: format!("{}/container", self.cgroup()),
            target_pid: None,
            selinux_level: "",
            host: &self.facts,
        };
        plan::container(&request).expect("planned")
    }

    /// Launches a pod and in it a container, and returns what it wrote and its exit code.
    fn run(&self, pod: &PodConfig, config: &ContainerConfig) -> (String, i32) {
        let plan = self.plan(pod, config);
        let pod = self.pod(pod);
        let result = self.run_plan(&pod, &plan);
        self.end(pod);
        result
    }

    fn run_plan(&self, pod: &PodInit, plan: &ContainerPlan) -> (String, i32) {
        let (stdio, mut output) = pipes();
        let launched = self.launch(plan, pod, stdio).expect("launched");
        let mut text = String::new();
        output.read_to_string(&mut text).expect("output");
        (text, wait(&launched.pidfd))
    }

    /// Launches a container with new layers of its own: they can be mounted only once.
    fn launch(&self, plan: &ContainerPlan, pod: &PodInit, stdio: Stdio) -> Result<Launched, LaunchError> {
        for directory in [&plan.rootfs.upper, &plan.rootfs.work] {
            fs::remove_dir_all(directory).expect("remove");
            fs::create_dir(directory).expect("directory");
        }
        container(plan, pod, stdio)
    }

    /// Takes the pod down.
    fn end(&self, pod: PodInit) {
        if let Some(init) = &pod.init {
            parent::kill(init);
            parent::reap(init);
        }
        drop(pod);
        unpin(&self.pod_dir()).expect("unpinned");
        unpin(&self.pod_dir()).expect("once more");
        assert!(fs::read_dir(self.pod_dir().join("ns")).is_ok_and(|mut pins| pins.next().is_none()), "pins are left");
    }
}

/// A pod whose containers have PID namespaces of their own.
fn own_pid() -> PodConfig {
    let mut config = PodConfig { hostname: "web-1".to_owned(), ..PodConfig::default() };
    config.namespaces.pid = NamespaceMode::Container;
    config
}

/// A container that runs a shell script.
fn script(text: &str) -> ContainerConfig {
    let mut config =
        ContainerConfig { command: ["/bin/sh", "-c", text].map(str::to_owned).to_vec(), ..ContainerConfig::default() };
    config.security.namespaces.pid = NamespaceMode::Container;
    config
}

/// A container that sleeps. Not by a shell, which would be seen for a moment before it.
fn sleeper() -> ContainerConfig {
    let mut config = script("");
    config.command = ["/bin/sleep", "1000"].map(str::to_owned).to_vec();
    config
}

/// Pipes for a container: no input, output and errors in one.
fn pipes() -> (Stdio, fs::File) {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("pipe");
    let null = rustix::fs::openat(
        CWD,
        "/dev/null",
        rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    );
    let stderr = writer.try_clone().expect("clone");
    (Stdio::Pipes { stdin: null.expect("null"), stdout: writer, stderr }, reader.into())
}

/// The exit code of a child, 128 and the signal's number for a death by signal.
fn wait(pidfd: &OwnedFd) -> i32 {
    let status = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED).expect("wait").expect("status");
    status.exit_status().or(status.terminating_signal().map(|signal| 128 + signal)).expect("ended")
}

/// All that a terminal shows until its last user is gone.
fn read_console(console: Option<OwnedFd>) -> String {
    let mut master = fs::File::from(console.expect("console"));
    let (mut text, mut part) = (Vec::new(), [0; 4096]);
    // The end is an error, EIO.
    while let Ok(length @ 1..) = master.read(&mut part) {
        text.extend_from_slice(&part[..length]);
    }
    String::from_utf8(text).expect("text")
}
