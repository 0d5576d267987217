//! A spawner from the built binary, pods in a temporary directory, containers of busybox.

use std::{
    fs,
    future::Future,
    io::Write as _,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use berth::{
    monitor::client::{ContainerIo, Event, Exec, ExecStdio, Monitor, Spawner, Started},
    runtime::{
        cgroup::Hierarchy,
        launch,
        plan::{self, ContainerPlan, ContainerRequest, HostFacts, ImageDefaults, PodPlan, RootfsPlan},
    },
    types::{ContainerConfig, ExitStatus, Id, NamespaceMode, PodConfig, Signal},
};
use tokio::{io::AsyncReadExt, net::unix::pipe, sync::mpsc::UnboundedReceiver};

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not come in time"),
    }
}

pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) spawner: Spawner,
    pub(crate) host: HostFacts,
}

impl World {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("dir");
        let image = dir.path().join("image");
        for name in ["bin", "dev", "etc", "proc", "sys", "tmp"] {
            fs::create_dir_all(image.join(name)).expect("mkdir");
        }
        fs::copy("/bin/busybox", image.join("bin/busybox")).expect("busybox-static is needed");
        for name in ["cat", "dd", "echo", "kill", "ls", "ps", "seq", "setsid", "sh", "sleep", "stty", "true", "yes"] {
            std::os::unix::fs::symlink("busybox", image.join("bin").join(name)).expect("link");
        }
        let spawner = Spawner::start_program(Path::new(env!("CARGO_BIN_EXE_berth"))).expect("spawner");
        Self { dir, spawner, host: HostFacts::detect().expect("host") }
    }

    /// A pod whose containers have PID namespaces of their own.
    pub(crate) async fn pod(&self) -> Pod {
        self.pod_with(NamespaceMode::Container).await
    }

    pub(crate) async fn pod_with(&self, pid: NamespaceMode) -> Pod {
        let mut config = PodConfig::default();
        config.namespaces.pid = pid;
        self.pod_from(config).await
    }

    pub(crate) async fn pod_from(&self, config: PodConfig) -> Pod {
        let plan = self.pod_plan(&config);
        let monitor = in_time("the pod", self.spawner.pod(&plan)).await.expect("pod");
        let events = monitor.events();
        Pod {
            config,
            id: plan.id.clone(),
            cgroup: cgroup_of(&plan.id),
            dir: plan.dir,
            image: self.dir.path().join("image"),
            host: self.host.clone(),
            monitor,
            events,
            down: false,
        }
    }

    pub(crate) fn pod_plan(&self, config: &PodConfig) -> PodPlan {
        let id = new_id();
        let dir = self.dir.path().join(id.short());
        fs::create_dir(&dir).expect("mkdir");
        let mut plan = plan::pod(&id, &dir, config, &self.host).expect("plan");
        plan.cgroup = Some(format!("{}/init", cgroup_of(&id)));
        plan
    }
}

fn cgroup_of(pod: &Id) -> String {
    format!("/berth-test-monitor-{}", pod.short())
}

fn new_id() -> Id {
    static COUNT: AtomicU8 = AtomicU8::new(0);
    let mut bytes = [COUNT.fetch_add(1, Ordering::Relaxed); 32];
    // Tests of several processes must not share cgroups, and only the first digits are in their names.
    bytes[..4].copy_from_slice(&std::process::id().to_le_bytes());
    Id::from_bytes(bytes)
}

pub(crate) struct Pod {
    pub(crate) config: PodConfig,
    pub(crate) id: Id,
    pub(crate) dir: PathBuf,
    pub(crate) cgroup: String,
    pub(crate) monitor: Arc<Monitor>,
    pub(crate) events: UnboundedReceiver<Event>,
    image: PathBuf,
    host: HostFacts,
    down: bool,
}

pub(crate) struct Running {
    pub(crate) id: Id,
    pub(crate) plan: ContainerPlan,
    pub(crate) log: PathBuf,
    pub(crate) started: Started,
}

impl Pod {
    pub(crate) fn plan(&self, config: &mut ContainerConfig, command: &[&str]) -> ContainerPlan {
        config.command = command.iter().map(|&word| word.to_owned()).collect();
        config.security.namespaces = self.config.namespaces.clone();
        let id = new_id();
        let (upper, work) = (self.dir.join(id.as_str()).join("upper"), self.dir.join(id.as_str()).join("work"));
        fs::create_dir_all(&upper).expect("mkdir");
        fs::create_dir_all(&work).expect("mkdir");
        let image = ImageDefaults { env: vec!["PATH=/bin".to_owned()], ..ImageDefaults::default() };
        let request = ContainerRequest {
            cdi: &berth::runtime::cdi::Edits::default(),
            id: &id,
            pod_id: &self.id,
            pod: &self.config,
            config,
            image: &image,
            rootfs: RootfsPlan { lower: vec![self.image.clone()], upper, work, fixed_projects: false },
            pod_dir: &self.dir,
            image_mounts: vec![],
            cgroup: format!("{}/{}", self.cgroup, id.short()),
            target_pid: None,
            selinux_level: "",
            host: &self.host,
        };
        plan::container(&request).expect("plan")
    }

    pub(crate) async fn run(&self, command: &[&str]) -> Running {
        self.run_with(&mut ContainerConfig::default(), command).await
    }

    pub(crate) async fn sh(&self, script: &str) -> Running {
        self.run(&["sh", "-c", script]).await
    }

    pub(crate) async fn run_with(&self, config: &mut ContainerConfig, command: &[&str]) -> Running {
        let plan = self.plan(config, command);
        let log = self.dir.join(format!("{}.log", plan.id.short()));
        let io = ContainerIo { log: Some(log.clone()), stdin: config.stdin, stdin_once: config.stdin_once };
        let started = in_time("the start", self.monitor.start(&plan, io)).await.expect("start");
        Running { id: plan.id.clone(), plan, log, started }
    }

    pub(crate) async fn exit(&mut self, container: &Running) -> ExitStatus {
        loop {
            match in_time("the exit", self.events.recv()).await.expect("the monitor lives") {
                Event::Exited { container: id, status } if id == container.id => return status,
                Event::Gone => panic!("the monitor is gone"),
                _ => {}
            }
        }
    }

    pub(crate) async fn exec(&self, container: &Running, command: &[&str]) -> (Exec, pipe::Receiver) {
        let command: Vec<String> = command.iter().map(|&word| word.to_owned()).collect();
        let plan = plan::exec(&container.plan, &command, false);
        let (read, write) = std::io::pipe().expect("pipe");
        let output = OwnedFd::from(write);
        let stdio = ExecStdio::Pipes {
            stdin: fs::File::open("/dev/null").expect("null").into(),
            stdout: output.try_clone().expect("dup"),
            stderr: output,
        };
        let exec = in_time("the exec", self.monitor.exec(&container.id, &plan, stdio)).await.expect("exec");
        (exec, pipe::Receiver::from_owned_fd(read.into()).expect("pipe"))
    }

    /// Runs a command to its end: its code and its output.
    pub(crate) async fn exec_sync(&self, container: &Running, command: &[&str]) -> (i32, String) {
        let (mut exec, mut output) = self.exec(container, command).await;
        let mut text = String::new();
        in_time("the output", output.read_to_string(&mut text)).await.expect("read");
        (in_time("the exec's end", exec.wait()).await.expect("wait").code, text)
    }

    /// How many processes in the container run exactly that command.
    pub(crate) async fn count(&self, container: &Running, command: &str) -> usize {
        let (code, list) = self.exec_sync(container, &["ps", "-o", "args"]).await;
        assert_eq!(code, 0, "{list}");
        list.lines().filter(|line| line.trim() == command).count()
    }

    pub(crate) async fn kill(&self, container: &Running, signal: i32) {
        let signal = Signal::try_from(signal).expect("signal");
        self.monitor.kill(&container.id, signal).await.expect("kill");
    }

    /// Shuts the pod down and checks that nothing of it is left.
    pub(crate) async fn end(mut self) {
        let pid = self.monitor.pid();
        in_time("the shutdown", self.monitor.shutdown()).await.expect("shutdown");
        self.down = true;
        in_time("the monitor's end", async {
            while Path::new(&format!("/proc/{pid}")).exists() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
        let cgroup = Hierarchy::detect().expect("cgroups").open(&self.cgroup);
        assert!(cgroup.processes().map_or(true, |processes| processes.is_empty()));
        cgroup.remove().expect("only the pod's own cgroup is left");
        let mounts = fs::read_to_string("/proc/self/mounts").expect("mounts");
        assert!(!mounts.contains(self.dir.to_str().expect("path")), "mounts are left");
        assert!(!self.dir.join("monitor.sock").exists());
        let log = fs::read_to_string(self.dir.join("monitor.log")).expect("log");
        assert_eq!(log, "", "the monitor had something to complain about");
    }
}

impl Drop for Pod {
    /// Clears a failed test's pod away.
    fn drop(&mut self) {
        if self.down {
            return;
        }
        let log = fs::read_to_string(self.dir.join("monitor.log")).unwrap_or_default();
        let _ = writeln!(std::io::stderr(), "the monitor's log: {log}");
        let cgroup = Hierarchy::detect().map(|hierarchy| hierarchy.open(&self.cgroup));
        if let Ok(cgroup) = cgroup {
            let _ = cgroup.kill();
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.monitor.pid()), nix::sys::signal::SIGKILL);
            let _ = cgroup.remove();
        }
        let _ = launch::unpin(&self.dir);
    }
}

/// The log's lines without their times, which are checked.
pub(crate) fn log_of(container: &Running) -> Vec<String> {
    lines_of(&container.log)
}

pub(crate) fn lines_of(log: &Path) -> Vec<String> {
    let text = fs::read_to_string(log).expect("log");
    assert!(text.is_empty() || text.ends_with('\n'), "the last line is torn");
    let line = |line: &str| {
        let (time, rest) = line.split_once(' ').expect("a time");
        assert!(time.len() == 30 && time.ends_with('Z') && time.as_bytes()[19] == b'.', "{line:?}");
        rest.to_owned()
    };
    text.lines().map(line).collect()
}

/// Waits until `done`.
pub(crate) async fn until(what: &str, mut done: impl FnMut() -> bool) {
    in_time(what, async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}
