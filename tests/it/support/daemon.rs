//! The daemon of one test, on a host of its own.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Instant,
};

use berth::{
    berth_wire::{
        ImportImageRequest, ImportImageResponse, ImportOptions, engine_client::EngineClient, import_image_request::Part,
    },
    wire::{
        ContainerConfig, ContainerState, ContainerStatus, ContainerStatusRequest, CreateContainerRequest,
        ExecSyncRequest, ExecSyncResponse, PodSandboxConfig, PodSandboxStatus, PodSandboxStatusRequest,
        RemoveContainerRequest, RemovePodSandboxRequest, RunPodSandboxRequest, StartContainerRequest,
        StopContainerRequest, StopPodSandboxRequest, VersionRequest, image_service_client::ImageServiceClient,
        runtime_service_client::RuntimeServiceClient,
    },
};
use hyper_util::rt::TokioIo;
use nix::{
    sched::{CloneFlags, unshare},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;
use tokio::{net::UnixStream, runtime::Runtime};
use tonic::transport::{Channel, Endpoint};

use super::{archive, container, eventually, leftovers::Leftovers, patience, pod};

/// The program under test: `BERTH_TEST_PROGRAM`, or what cargo has built with the tests.
fn program() -> PathBuf {
    std::env::var_os("BERTH_TEST_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_berth").into()).into()
}

/// Size of the pieces of an import, bytes.
const PIECE: usize = 64 * 1024;

/// A running `berth serve` with directories, a socket, a cgroup and a network namespace of its own.
///
/// The network namespace is that of the test's thread, too: it sees the pods as a host does. When the guard is dropped,
/// the pods are removed, the daemon is ended, and the test fails if anything is left.
#[derive(Debug)]
pub(crate) struct Daemon {
    directory: TempDir,
    /// Told apart from other daemons by the environment of its processes and the name of its cgroup.
    mark: String,
    child: Child,
    channel: Channel,
    /// What the firewall had before the first pod.
    rules: String,
    /// How often [`Daemon::run_to_end`] was called.
    runs: AtomicU32,
}

impl Daemon {
    /// Starts a daemon with the default configuration.
    pub(crate) async fn start() -> Self {
        Self::start_with("").await
    }

    /// Starts a daemon; `configuration` is added to the file that gives it its own places, and begins within `[image]`.
    pub(crate) async fn start_with(configuration: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let mark = format!("berth-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        own_network();
        let directory = tempfile::Builder::new().prefix(&mark).tempdir().expect("make a temporary directory");
        let path = directory.path();
        fs::write(path.join("config.toml"), places(path, &mark) + configuration).expect("write the configuration");
        let child = spawn(path, &mark, &[]);
        let channel = lazy_channel(path.join("berth.sock"));
        let (rules, runs) = (String::new(), AtomicU32::new(0));
        let mut daemon = Self { directory, mark, child, channel, rules, runs };
        daemon.wait_until_ready().await;
        daemon.rules = Leftovers::rules();
        daemon
    }

    async fn wait_until_ready(&mut self) {
        assert!(self.is_ready_before_its_end().await, "the daemon ended:\n{}", self.output());
    }

    /// Waits until the daemon answers (`true`) or has ended.
    async fn is_ready_before_its_end(&mut self) -> bool {
        let started = Instant::now();
        loop {
            let answer = self.runtime().version(VersionRequest { version: String::new() }).await;
            if answer.is_ok() {
                return true;
            }
            if self.has_ended() {
                return false;
            }
            assert!(started.elapsed() < patience(20), "not ready: {answer:?}\n{}", self.output());
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }

    /// A cgroup for a pod of this name, as kubelet words it for the driver in use.
    pub(crate) fn cgroup_parent(&self, pod: &str) -> String {
        if uses_systemd() {
            format!("{}-{}.slice", slice(&self.mark), slice(pod))
        } else {
            format!("/{}/{pod}", self.mark)
        }
    }

    /// What the daemon logged.
    pub(crate) fn output(&self) -> String {
        fs::read_to_string(self.path("daemon.log")).unwrap_or_default()
    }

    /// A path in the test's own directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The cgroup under which the test's pods go, and the mark of all else that belongs to it.
    pub(crate) fn mark(&self) -> &str {
        &self.mark
    }

    /// The daemon's process id.
    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a process id")
    }

    /// Client of the CRI's runtime service.
    pub(crate) fn runtime(&self) -> RuntimeServiceClient<Channel> {
        RuntimeServiceClient::new(self.channel.clone()).max_decoding_message_size(64 << 20)
    }

    /// Client of the CRI's image service.
    pub(crate) fn image(&self) -> ImageServiceClient<Channel> {
        ImageServiceClient::new(self.channel.clone())
    }

    /// The connection, for clients of other services.
    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// The command-line client, pointed at this daemon.
    pub(crate) fn cli(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.args(arguments).env("BERTH_HOST", format!("unix://{}", self.path("berth.sock").display()));
        command.env("BERTH_LOG_ROOT", self.path("logs"));
        command
    }

    /// Kills the daemon as a crash would. Its monitors live on.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("kill the daemon");
        self.child.wait().expect("wait for the daemon");
    }

    /// Ends the daemon as an administrator would.
    pub(crate) async fn terminate(&mut self) {
        kill(Pid::from_raw(self.pid()), Signal::SIGTERM).expect("terminate the daemon");
        eventually("the daemon ends on SIGTERM", async || self.child.try_wait().expect("look at the daemon").is_some())
            .await;
    }

    /// Whether the daemon has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("look at the daemon").is_some()
    }

    /// Starts the daemon anew in the same places.
    pub(crate) async fn start_again(&mut self) {
        assert!(self.try_start_again(&[]).await, "the daemon ended:\n{}", self.output());
    }

    /// Starts the daemon anew with more variables in its environment; `false` when it ended before it was ready.
    pub(crate) async fn try_start_again(&mut self, environment: &[(&'static str, String)]) -> bool {
        self.child = spawn(self.directory.path(), &self.mark, environment);
        self.is_ready_before_its_end().await
    }

    /// Takes in an archive of images.
    pub(crate) async fn import(&self, archive: Vec<u8>, name: &str) -> Result<ImportImageResponse, tonic::Status> {
        let options = ImportImageRequest { part: Some(Part::Options(ImportOptions { name: name.to_owned() })) };
        let pieces: Vec<_> =
            archive.chunks(PIECE).map(|piece| ImportImageRequest { part: Some(Part::Data(piece.to_vec())) }).collect();
        let stream = tokio_stream::iter(std::iter::once(options).chain(pieces));
        EngineClient::new(self.channel.clone()).import_image(stream).await.map(tonic::Response::into_inner)
    }

    /// Takes in the image of most tests, `busybox:latest`.
    pub(crate) async fn import_busybox(&self) {
        self.import(archive::busybox(), "").await.expect("import busybox");
    }

    /// Runs a pod.
    pub(crate) async fn run_pod(&self, config: &PodSandboxConfig) -> String {
        let request = RunPodSandboxRequest { config: Some(config.clone()), ..Default::default() };
        self.runtime().run_pod_sandbox(request).await.expect("run the pod").into_inner().pod_sandbox_id
    }

    /// Takes busybox in and runs a pod in which a container of it sleeps. Returns the ids of both.
    pub(crate) async fn run_sleeper(&self) -> (String, String) {
        self.import_busybox().await;
        let config = pod(self, "p");
        let pod = self.run_pod(&config).await;
        let container = self.run(&pod, &container("c", &["sleep", "1000"]), &config).await;
        (pod, container)
    }

    /// Creates a container.
    pub(crate) async fn create(&self, pod: &str, config: &ContainerConfig, pod_config: &PodSandboxConfig) -> String {
        self.try_create(pod, config, pod_config).await.expect("create the container")
    }

    /// Creates a container, or says why not.
    pub(crate) async fn try_create(
        &self,
        pod: &str,
        config: &ContainerConfig,
        pod_config: &PodSandboxConfig,
    ) -> Result<String, tonic::Status> {
        let request = CreateContainerRequest {
            pod_sandbox_id: pod.to_owned(),
            config: Some(config.clone()),
            sandbox_config: Some(pod_config.clone()),
        };
        Ok(self.runtime().create_container(request).await?.into_inner().container_id)
    }

    /// Starts a container, or says why not.
    pub(crate) async fn try_start(&self, container: &str) -> Result<(), tonic::Status> {
        let request = StartContainerRequest { container_id: container.to_owned() };
        self.runtime().start_container(request).await.map(drop)
    }

    /// Creates and starts a container.
    pub(crate) async fn run(&self, pod: &str, config: &ContainerConfig, pod_config: &PodSandboxConfig) -> String {
        let id = self.create(pod, config, pod_config).await;
        self.try_start(&id).await.expect("start the container");
        id
    }

    /// Runs a container in a pod of its own, waits for its end, and returns its last status and what it wrote.
    pub(crate) async fn run_to_end(&self, config: &ContainerConfig) -> (ContainerStatus, String) {
        let number = self.runs.fetch_add(1, Ordering::Relaxed);
        let pod_config = super::pod(self, &format!("to-end-{number}"));
        let pod = self.run_pod(&pod_config).await;
        let id = self.run(&pod, config, &pod_config).await;
        let status = self.wait_for_end(&id).await;
        let text = log_text(&status);
        self.remove_pod(&pod).await;
        (status, text)
    }

    /// Waits until a container has ended.
    pub(crate) async fn wait_for_end(&self, container: &str) -> ContainerStatus {
        let has_ended = async || self.status(container).await.state() == ContainerState::ContainerExited;
        eventually("the container ends", has_ended).await;
        self.status(container).await
    }

    /// A container's status.
    pub(crate) async fn status(&self, container: &str) -> ContainerStatus {
        let request = ContainerStatusRequest { container_id: container.to_owned(), verbose: false };
        let answer = self.runtime().container_status(request).await.expect("ask for the container's status");
        answer.into_inner().status.expect("a status")
    }

    /// The process id of a running container, which only a verbose status tells.
    pub(crate) async fn container_pid(&self, container: &str) -> i32 {
        let request = ContainerStatusRequest { container_id: container.to_owned(), verbose: true };
        let answer = self.runtime().container_status(request).await.expect("ask for the status").into_inner();
        let info: serde_json::Value = serde_json::from_str(&answer.info["info"]).expect("info is JSON");
        info["pid"].as_i64().and_then(|pid| pid.try_into().ok()).expect("a process id")
    }

    /// The process id of the monitor of a running container's pod: the parent of the container's process.
    pub(crate) async fn monitor_pid(&self, container: &str) -> i32 {
        let stat = format!("/proc/{}/stat", self.container_pid(container).await);
        let stat = fs::read_to_string(stat).expect("the container's process");
        let after_name = stat.rsplit(") ").next().expect("fields after the name");
        let parent = after_name.split(' ').nth(1).and_then(|field| field.parse().ok()).expect("its parent");
        assert!(parent > 1 && parent != self.pid(), "{parent} is no monitor");
        parent
    }

    /// A pod's status.
    pub(crate) async fn pod_status(&self, pod: &str) -> PodSandboxStatus {
        let request = PodSandboxStatusRequest { pod_sandbox_id: pod.to_owned(), verbose: false };
        let answer = self.runtime().pod_sandbox_status(request).await.expect("ask for the pod's status");
        answer.into_inner().status.expect("a status")
    }

    /// Executes a command, or says why not. A timeout of 0 is none.
    pub(crate) async fn try_exec(
        &self,
        container: &str,
        command: &[&str],
        timeout: i64,
    ) -> Result<ExecSyncResponse, tonic::Status> {
        let cmd = command.iter().map(|&word| word.to_owned()).collect();
        let request = ExecSyncRequest { container_id: container.to_owned(), cmd, timeout };
        Ok(self.runtime().exec_sync(request).await?.into_inner())
    }

    /// Executes a command that must succeed and returns what it wrote to its standard output, without blanks around.
    pub(crate) async fn exec(&self, container: &str, command: &[&str]) -> String {
        let answer = self.try_exec(container, command, 30).await.expect("execute");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        assert_eq!(answer.exit_code, 0, "{command:?} failed: {}{}", text(&answer.stdout), text(&answer.stderr));
        text(&answer.stdout)
    }

    /// Stops a container, with a grace in seconds.
    pub(crate) async fn stop(&self, container: &str, timeout: i64) {
        let request = StopContainerRequest { container_id: container.to_owned(), timeout };
        self.runtime().stop_container(request).await.expect("stop the container");
    }

    /// Removes a container.
    pub(crate) async fn remove(&self, container: &str) {
        let request = RemoveContainerRequest { container_id: container.to_owned() };
        self.runtime().remove_container(request).await.expect("remove the container");
    }

    /// Stops a pod.
    pub(crate) async fn stop_pod(&self, pod: &str) {
        let request = StopPodSandboxRequest { pod_sandbox_id: pod.to_owned() };
        self.runtime().stop_pod_sandbox(request).await.expect("stop the pod");
    }

    /// Stops and removes a pod.
    pub(crate) async fn remove_pod(&self, pod: &str) {
        self.stop_pod(pod).await;
        let request = RemovePodSandboxRequest { pod_sandbox_id: pod.to_owned() };
        self.runtime().remove_pod_sandbox(request).await.expect("remove the pod");
    }

    /// What this daemon has on the host at this moment.
    pub(crate) fn leftovers(&self) -> Leftovers {
        Leftovers::find(self.directory.path(), &self.mark, &self.rules)
    }
}

/// What a container wrote, from its log file, without the time stamps.
pub(crate) fn log_text(status: &ContainerStatus) -> String {
    let log = fs::read_to_string(&status.log_path).unwrap_or_else(|error| panic!("{}: {error}", status.log_path));
    let mut text = String::new();
    for line in log.lines() {
        let mut fields = line.splitn(4, ' ').skip(2);
        let is_partial = fields.next() == Some("P");
        text.push_str(fields.next().unwrap_or_default());
        if !is_partial {
            text.push('\n');
        }
    }
    text
}

/// Removes the pods, ends the daemon, and looks for what is left. After a failed test all is swept away by force.
impl Drop for Daemon {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        if self.has_ended() {
            self.child = spawn(self.directory.path(), &self.mark, &[]);
        }
        let removed = remove_all_pods(self);
        // What is thrown away is deleted in the background; a daemon that ends leaves that to the next one.
        Leftovers::wait_for_files(self.directory.path());
        let ended = kill(Pid::from_raw(self.pid()), Signal::SIGTERM).is_ok() && ends_in_time(&mut self.child);
        let left = self.leftovers().settle(self.directory.path(), &self.mark, &self.rules);
        if failed {
            let _ = writeln!(io::stderr(), "--- the daemon's log ---\n{}", self.output());
        }
        if !failed && removed.is_ok() && ended && left.is_empty() {
            left.remove_own_cgroup(&self.mark);
            return;
        }
        let log = self.output();
        let _ = self.child.kill();
        let _ = self.child.wait();
        left.sweep(self.directory.path(), &self.mark);
        assert!(failed, "not clean: pods removed: {removed:?}, daemon ended: {ended}, {left:#?}\n{log}");
    }
}

/// With our own client, because a guard cannot await.
fn remove_all_pods(daemon: &Daemon) -> Result<(), String> {
    let started = Instant::now();
    loop {
        let output = daemon.cli(&["pod", "rm", "--all", "--force"]).output().map_err(|error| error.to_string())?;
        if output.status.success() {
            return Ok(());
        }
        if started.elapsed() > patience(10) {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

fn ends_in_time(child: &mut Child) -> bool {
    let started = Instant::now();
    while started.elapsed() < patience(10) {
        if matches!(child.try_wait(), Ok(Some(_))) {
            return true;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    false
}

/// Gives this thread, and all that it starts, a network of its own: nothing but a loopback that is up.
fn own_network() {
    unshare(CloneFlags::CLONE_NEWNET).expect("make a network namespace");
    let status = Command::new("ip").args(["link", "set", "lo", "up"]).status().expect("run ip");
    assert!(status.success(), "loopback does not come up");
}

/// Whether systemd makes the cgroups: `BERTH_TEST_CGROUP_DRIVER=systemd`, on a machine whose init it is.
fn uses_systemd() -> bool {
    std::env::var("BERTH_TEST_CGROUP_DRIVER").is_ok_and(|driver| driver == "systemd")
}

/// The slice, without `.slice`, that stands for the cgroup called `mark` where systemd makes them.
pub(super) fn slice(mark: &str) -> String {
    mark.replace('-', "_")
}

/// The configuration that keeps a daemon within its directory.
fn places(directory: &Path, mark: &str) -> String {
    let directory = directory.display();
    let driver = if uses_systemd() { "systemd" } else { "cgroupfs" };
    format!(
        "root = \"{directory}/root\"\n\
         state = \"{directory}/run\"\n\
         [socket]\n\
         path = \"{directory}/berth.sock\"\n\
         [cgroup]\n\
         driver = \"{driver}\"\n\
         root = \"/{mark}\"\n\
         [image]\n\
         certs_dirs = [\"{directory}/certs.d\"]\n"
    )
}

fn spawn(directory: &Path, mark: &str, environment: &[(&'static str, String)]) -> Child {
    let log = File::options().create(true).append(true).open(directory.join("daemon.log")).expect("open the log");
    Command::new(program())
        .args(["serve", "--config"])
        .arg(directory.join("config.toml"))
        .env("BERTH_TEST_MARK", mark)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("share the log"))
        .stderr(log)
        .spawn()
        .expect("start the daemon")
}

/// A channel that connects when it is used, and again after the daemon was away.
fn lazy_channel(socket: PathBuf) -> Channel {
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { io::Result::Ok(TokioIo::new(UnixStream::connect(socket).await?)) }
    });
    Endpoint::from_static("http://localhost").executor(Background).connect_with_connector_lazy(connector)
}

/// Runs connections on a thread of their own. A daemon that ends says goodbye on each of them and waits for the answer,
/// which the test's thread cannot give while it waits for the daemon's end.
#[derive(Clone, Copy)]
struct Background;

impl<F: Future<Output: Send> + Send + 'static> hyper::rt::Executor<F> for Background {
    fn execute(&self, task: F) {
        static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(1).enable_all().build().expect("make a runtime")
        });
        RUNTIME.spawn(task);
    }
}
