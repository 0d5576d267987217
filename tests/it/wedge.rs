//! Something that is stuck holds up nothing else.

use std::{
    collections::BTreeMap,
    fs,
    process::Stdio,
    time::{Duration, Instant},
};

use berth::wire::{
    ContainerState, ImageSpec, ListContainerStatsRequest, ListContainersRequest, ListPodSandboxRequest,
    ListPodSandboxStatsRequest, Mount, PodSandboxState, PullImageRequest, StartContainerRequest, StopPodSandboxRequest,
};
use nix::{
    sys::{ptrace, wait::waitpid},
    unistd::Pid,
};
use tokio::task::JoinHandle;
use tonic::{Code, Status};

use crate::support::{
    Archive, Daemon, Fault, FaultyRegistry, Hang, SilentFileSystem, container, eventually, pod, shell,
};

type Call = JoinHandle<Result<(), Status>>;

/// The whole life of another pod, and questions about all: how long each step took.
async fn expect_others_go_on(daemon: &Daemon) -> [(&'static str, Duration); 6] {
    let begun = Instant::now();
    let mut last = Duration::ZERO;
    let mut lap = |step| {
        let since = begun.elapsed();
        (step, since - std::mem::replace(&mut last, since))
    };
    let config = pod(daemon, "other");
    let other = daemon.run_pod(&config).await;
    let run_pod = lap("run a pod");
    let id = daemon.run(&other, &container("c", &["sleep", "1000"]), &config).await;
    let run = lap("run a container");
    assert_eq!(daemon.exec(&id, &["echo", "word"]).await, "word");
    let exec = lap("run a command");
    daemon.runtime().list_pod_sandbox(ListPodSandboxRequest::default()).await.expect("list pods");
    daemon.runtime().list_containers(ListContainersRequest::default()).await.expect("list containers");
    daemon.runtime().list_container_stats(ListContainerStatsRequest::default()).await.expect("statistics");
    daemon.runtime().list_pod_sandbox_stats(ListPodSandboxStatsRequest::default()).await.expect("statistics");
    let lists = lap("list and measure");
    daemon.stop(&id, 0).await;
    let stop = lap("stop a container");
    daemon.remove_pod(&other).await;
    [run_pod, run, exec, lists, stop, lap("remove a pod")]
}

/// The fastest time of each step in some lives of other pods: what it takes, whatever else the machine does.
async fn fastest(daemon: &Daemon) -> BTreeMap<&'static str, Duration> {
    let mut fastest = BTreeMap::new();
    for _ in 0..12 {
        for (step, took) in expect_others_go_on(daemon).await {
            let least = fastest.entry(step).or_insert(took);
            *least = took.min(*least);
        }
    }
    fastest
}

/// A container that outlives `SIGKILL` until the tracer of one of its processes has looked: its pod, the container and
/// what is traced.
async fn unkillable(daemon: &Daemon) -> (String, String, Pid) {
    let config = pod(daemon, "traced");
    let stuck = daemon.run_pod(&config).await;
    let id = daemon.run(&stuck, &shell("c", "sleep 1000 & wait"), &config).await;
    let pid = daemon.container_pid(&id).await;
    // A traced process that is killed stays until its tracer has looked, and the PID 1 of its namespace cannot end before:
    // to the engine that is a process in a system call that hangs.
    let children = || fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    eventually("the shell has its child", async || !children().is_empty()).await;
    let child = Pid::from_raw(children().trim().parse().expect("one child"));
    ptrace::seize(child, ptrace::Options::empty()).expect("trace the child");
    (stuck, id, child)
}

#[tokio::test]
async fn a_process_that_does_not_die_holds_up_no_other_pod_and_not_its_own_stop() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let (stuck, id, child) = unkillable(&daemon).await;
    let (pid, monitor) = (daemon.container_pid(&id).await, daemon.monitor_pid(&id).await);
    let stop = stop(&daemon, &stuck);
    expect_others_go_on(&daemon).await;
    stop.await.expect("the task").expect("the stop is answered");
    assert!(fs::exists(format!("/proc/{pid}")).expect("look for it"), "it has died");
    expect_others_go_on(&daemon).await;

    waitpid(child, None).expect("let it go");
    let has_ended = async || daemon.status(&id).await.state() == ContainerState::ContainerExited;
    eventually("the container is known to have ended", has_ended).await;
    eventually("its monitor has ended, too", async || !fs::exists(format!("/proc/{monitor}")).unwrap_or(true)).await;
    daemon.remove_pod(&stuck).await;
}

fn pull(daemon: &Daemon, image: String) -> Call {
    let mut images = daemon.image();
    let image = Some(ImageSpec { image, ..Default::default() });
    tokio::spawn(async move { images.pull_image(PullImageRequest { image, ..Default::default() }).await.map(drop) })
}

#[tokio::test]
async fn a_silent_registry_holds_up_no_other_pull_and_no_pod() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let silent = FaultyRegistry::start(Archive::busybox(), Fault::Silent).await;
    let sound = FaultyRegistry::start(Archive::busybox(), Fault::None).await;
    let hanging: Vec<_> = (0..8).map(|_| pull(&daemon, silent.image())).collect();
    eventually("the silent registry is asked", async || silent.requests() > 0).await;
    pull(&daemon, sound.image()).await.expect("the task").expect("pull from the other registry");
    expect_others_go_on(&daemon).await;
    assert!(hanging.iter().all(|pull| !pull.is_finished()), "something was answered by the silent one");
    for pull in hanging {
        pull.abort();
        pull.await.expect_err("it was given up");
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_up_nobody_and_its_command_ends_with_it() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let (_, id) = daemon.run_sleeper().await;
    let mut client = daemon.cli(&["exec", "-i", &id, "yes"]);
    let mut client = client.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("run berth");
    let runs = async || daemon.try_exec(&id, &["pidof", "yes"], 30).await.expect("execute").exit_code == 0;
    eventually("the command runs", runs).await;
    expect_others_go_on(&daemon).await;
    assert!(runs().await, "the command has ended");
    client.kill().expect("kill the client");
    client.wait().expect("wait for the client");
    eventually("the command has ended", async || !runs().await).await;
}

/// A pod with a container that is being started and hangs at a mount source: the pod, the start and the source.
async fn hanging_start(daemon: &Daemon, hang: Hang) -> (String, Call, SilentFileSystem) {
    daemon.import_busybox().await;
    let config = pod(daemon, "stuck");
    let stuck = daemon.run_pod(&config).await;
    let silent = SilentFileSystem::mount(&daemon.path("silent"), hang);
    let mut inside = container("c", &["sleep", "1000"]);
    inside.mounts.push(Mount {
        host_path: silent.path().join("directory").display().to_string(),
        container_path: "/volume".to_owned(),
        ..Default::default()
    });
    let id = daemon.create(&stuck, &inside, &config).await;
    let mut runtime = daemon.runtime();
    let start =
        tokio::spawn(
            async move { runtime.start_container(StartContainerRequest { container_id: id }).await.map(drop) },
        );
    silent.wait_until_asked().await;
    (stuck, start, silent)
}

fn stop(daemon: &Daemon, pod: &str) -> Call {
    let mut runtime = daemon.runtime();
    let request = StopPodSandboxRequest { pod_sandbox_id: pod.to_owned() };
    tokio::spawn(async move { runtime.stop_pod_sandbox(request).await.map(drop) })
}

#[tokio::test]
async fn a_start_that_hangs_at_a_mount_source_is_killed_when_its_pod_is_stopped() {
    requires!(Root, Fuse);
    let daemon = Daemon::start().await;
    let (stuck, start, _silent) = hanging_start(&daemon, Hang::UntilKilled).await;
    expect_others_go_on(&daemon).await;
    assert!(!start.is_finished(), "the start did not hang");
    stop(&daemon, &stuck).await.expect("the task").expect("stop");
    let refused = start.await.expect("the task").expect_err("the source never answered");
    assert!(refused.code() == Code::Internal, "not killed: {refused:?}");
    assert_eq!(daemon.pod_status(&stuck).await.state(), PodSandboxState::SandboxNotready);
}

#[tokio::test]
async fn a_start_that_nothing_can_kill_holds_up_no_other_pod_and_not_for_ever_the_stop_of_its_own() {
    requires!(Root, Fuse);
    let mut daemon = Daemon::start().await;
    let (stuck, start, silent) = hanging_start(&daemon, Hang::ForEver).await;
    let stop = stop(&daemon, &stuck);
    expect_others_go_on(&daemon).await;
    assert!(!start.is_finished(), "the start did not hang");
    // Both are answered although the process stays.
    start.await.expect("the task").expect_err("the source never answered");
    stop.await.expect("the task").expect("stop");
    assert_eq!(daemon.pod_status(&stuck).await.state(), PodSandboxState::SandboxNotready);
    daemon.kill();
    daemon.start_again().await;
    expect_others_go_on(&daemon).await;
    silent.abort();
    let notes = daemon.path("run/cgroups");
    let is_gone = async || fs::read_dir(&notes).is_ok_and(|notes| notes.count() == 0);
    eventually("the cgroup of the process that hung is removed", is_gone).await;
    daemon.remove_pod(&stuck).await;
}

/// Whatever is stuck, other pods have the speed that they had before.
#[tokio::test]
async fn all_that_can_be_stuck_at_once_slows_no_other_pod_down() {
    requires!(Root, Fuse);
    let daemon = Daemon::start().await;
    let (_, reader) = daemon.run_sleeper().await;
    let before = fastest(&daemon).await;

    let registry = FaultyRegistry::start(Archive::busybox(), Fault::Silent).await;
    let pulls: Vec<_> = (0..8).map(|_| pull(&daemon, registry.image())).collect();
    let (traced, _, child) = unkillable(&daemon).await;
    let (_, start, silent) = hanging_start(&daemon, Hang::ForEver).await;
    let stop = stop(&daemon, &traced);
    let mut client = daemon.cli(&["exec", "-i", &reader, "yes"]);
    let mut client = client.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("run berth");
    let during = fastest(&daemon).await;
    assert!(!start.is_finished() && pulls.iter().all(|pull| !pull.is_finished()), "something was not stuck");

    client.kill().and_then(|()| client.wait()).expect("end the client");
    waitpid(child, None).expect("let the traced process go");
    silent.abort();
    pulls.iter().for_each(JoinHandle::abort);
    start.await.expect("the task").expect_err("the source never answered");
    stop.await.expect("the task").expect("stop");
    for (step, took) in &during {
        // Below that it is the machine's noise.
        let usual = before[step].max(Duration::from_millis(5));
        assert!(*took < usual * 3, "to {step} took {took:?}, before that {:?}", before[step]);
    }
}
