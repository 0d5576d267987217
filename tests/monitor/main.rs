//! Spawner and monitors, the real processes of the built binary, without a daemon: the test speaks for it.
//!
//! Needs root and busybox-static.

mod world;

use std::{fs, io::Write, time::Duration};

use berth::{
    monitor::client::{Event, ExecStdio, Failure, Monitor, Streams, exit_record},
    runtime::plan,
    types::{ContainerConfig, ExitReason, NamespaceMode, Resources},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::unix::pipe,
};
use world::{World, in_time, lines_of, log_of, until};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_container_runs_is_logged_and_reported() {
    let world = World::new();
    let mut pod = world.pod().await;
    let script = "echo hello World; echo oops >&2; printf unfinished; sleep 0.1; exit 42";
    let container = pod.sh(script).await;
    assert_eq!((container.started.user.uid, container.started.user.gid), (0, 0));
    let status = pod.exit(&container).await;
    assert_eq!((status.code, status.reason), (42, ExitReason::Error));
    assert!(status.at > container.started.at);
    let mut log = log_of(&container);
    log.sort();
    assert_eq!(log, ["stderr F oops", "stdout F hello World", "stdout P unfinished"]);
    assert_eq!(exit_record(&pod.dir, &container.id).expect("record"), Some(status));
    let (_, snapshot) = Monitor::connect(&pod.dir).await.expect("connect");
    assert_eq!(snapshot.containers.len(), 1);
    pod.monitor.forget(&container.id).await.expect("forget");
    pod.monitor.forget(&container.id).await.expect("forget twice");
    assert_eq!(exit_record(&pod.dir, &container.id).expect("record"), None);
    pod.end().await;
}

#[tokio::test]
async fn deaths_by_signal_are_128_and_the_signal() {
    let world = World::new();
    let mut pod = world.pod().await;
    for signal in [9, 34, 64] {
        let container = pod.run(&["sleep", "1000"]).await;
        pod.kill(&container, signal).await;
        if signal != 9 {
            // The first process of a PID namespace ignores what it has no handler for.
            tokio::time::sleep(Duration::from_millis(50)).await;
            pod.monitor.kill_all(&container.id).await.expect("kill");
        }
        assert_eq!(pod.exit(&container).await.code, 137);
    }
    pod.end().await;
    let mut pod = world.pod_with(NamespaceMode::Node).await;
    for signal in [1, 15, 34, 64] {
        let container = pod.run(&["sleep", "1000"]).await;
        pod.kill(&container, signal).await;
        assert_eq!(pod.exit(&container).await.code, 128 + signal);
    }
    pod.end().await;
}

#[tokio::test]
async fn a_very_fast_writer_loses_no_line() {
    let world = World::new();
    let mut pod = world.pod().await;
    let container = pod.run(&["seq", "1", "300000"]).await;
    assert_eq!(pod.exit(&container).await.code, 0);
    let log = log_of(&container);
    assert_eq!(log.len(), 300_000);
    for (index, line) in log.iter().enumerate() {
        assert_eq!(*line, format!("stdout F {}", index + 1));
    }
    pod.end().await;
}

#[tokio::test]
async fn reopening_under_fire_loses_no_line() {
    let world = World::new();
    let mut pod = world.pod().await;
    let script = "for i in 1 2 3 4 5 6 7 8 9 10; do seq 1 10000; sleep 0.02; done; echo last; exec sleep 1000";
    let container = pod.sh(script).await;
    let mut parts = Vec::new();
    for number in 0..20 {
        let part = container.log.with_extension(format!("log.{number}"));
        fs::rename(&container.log, &part).expect("rotate");
        pod.monitor.reopen_log(&container.id).await.expect("reopen");
        assert!(container.log.exists());
        let length = fs::metadata(&part).expect("part").len();
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(fs::metadata(&part).expect("part").len(), length, "the old file must not grow");
        parts.push(part);
    }
    parts.push(container.log.clone());
    let last = || parts.iter().any(|part| fs::read_to_string(part).is_ok_and(|log| log.ends_with("F last\n")));
    until("the last line", last).await;
    pod.monitor.kill_all(&container.id).await.expect("kill");
    pod.exit(&container).await;
    let mut lines: Vec<String> = parts.iter().flat_map(|part| lines_of(part)).collect();
    assert_eq!(lines.pop().as_deref(), Some("stdout F last"));
    let expected: Vec<String> = (0..10).flat_map(|_| (1..=10_000).map(|n| format!("stdout F {n}"))).collect();
    assert!(lines == expected, "{} lines of {}", lines.len(), expected.len());
    let error = pod.monitor.reopen_log(&container.id).await.expect_err("it has ended");
    assert!(matches!(error.failure(), Some(Failure::NotRunning)), "{error:?}");
    pod.end().await;
}

#[tokio::test]
async fn the_daemons_death_leaves_no_gap() {
    let world = World::new();
    let mut pod = world.pod().await;
    let lasting = pod.sh("i=0; while [ $i -lt 300 ]; do echo $i; i=$((i+1)); sleep 0.01; done; exit 3").await;
    let short = pod.sh("sleep 0.5; exit 4").await;
    // As the kernel does it when the daemon is killed: all its sockets close, and the spawner goes.
    let World { spawner, dir: _dir, .. } = world;
    drop(spawner);
    pod.monitor = {
        let dir = pod.dir.clone();
        drop(std::mem::replace(&mut pod.monitor, Monitor::connect(&dir).await.expect("another").0));
        tokio::time::sleep(SECOND).await;
        let (monitor, snapshot) = Monitor::connect(&dir).await.expect("connect again");
        pod.events = monitor.events();
        let exit = |id| snapshot.containers.iter().find(|held| held.id == id).expect("held").exit.clone();
        assert_eq!(exit(short.id.clone()).map(|status| status.code), Some(4), "ended in between");
        assert_eq!(exit(lasting.id.clone()), None);
        monitor
    };
    assert_eq!(pod.exit(&lasting).await.code, 3);
    let expected: Vec<String> = (0..300).map(|number| format!("stdout F {number}")).collect();
    assert_eq!(log_of(&lasting), expected);
    pod.end().await;
}

#[tokio::test]
async fn execs_run_beside_the_container_and_end_alone() {
    let world = World::new();
    let pod = world.pod().await;
    let container = pod.run(&["sleep", "1000"]).await;
    assert_eq!(pod.exec_sync(&container, &["echo", "hi"]).await, (0, "hi\n".to_owned()));
    assert_eq!(pod.exec_sync(&container, &["sh", "-c", "kill -9 $$"]).await.0, 137);
    let error =
        pod.monitor.exec(&container.id, &plan::exec(&container.plan, &["/nope".to_owned()], false), pipes()).await;
    assert!(matches!(error.expect_err("refused").failure(), Some(Failure::Launch(_))));
    // What a command leaves behind when it ends by itself is the container's.
    assert_eq!(pod.exec_sync(&container, &["sh", "-c", "sleep 500 >/dev/null 2>&1 & exit 7"]).await.0, 7);
    assert_eq!(pod.count(&container, "sleep 500").await, 1);
    pod.end().await;
}

fn pipes() -> ExecStdio {
    let null = || fs::File::options().read(true).write(true).open("/dev/null").expect("null").into();
    ExecStdio::Pipes { stdin: null(), stdout: null(), stderr: null() }
}

/// Starts a tree of sleepers that tries to get away: in the background, in a session of its own, as an orphan.
const RUNAWAYS: &str =
    "sleep 777 & setsid sleep 777 & (setsid sh -c 'sleep 777 & sleep 777' &) ; (sleep 777 &) ; sleep 777";

#[tokio::test]
async fn killing_an_exec_kills_all_that_it_started_and_nothing_else() {
    let world = World::new();
    let pod = world.pod().await;
    let container = pod.run(&["sleep", "1000"]).await;
    let (mut exec, _output) = pod.exec(&container, &["sh", "-c", RUNAWAYS]).await;
    in_time("the sleepers", async { while pod.count(&container, "sleep 777").await < 6 {} }).await;
    exec.kill().await.expect("kill");
    assert_eq!(in_time("the end", exec.wait()).await.expect("wait").code, 137);
    assert_eq!(pod.count(&container, "sleep 777").await, 0);
    assert_eq!(pod.count(&container, "sleep 1000").await, 1, "the container lives");
    pod.end().await;
}

/// A client may vanish just when the command ends for that, by the end of its input or a broken pipe.
#[tokio::test]
async fn an_exec_whose_end_nobody_has_heard_of_is_killed_with_what_it_left_behind() {
    let world = World::new();
    let pod = world.pod().await;
    let container = pod.run(&["sleep", "1000"]).await;
    let (exec, _output) = pod.exec(&container, &["sh", "-c", "setsid sleep 779 & exec sleep 778"]).await;
    in_time("the sleepers", async { while pod.count(&container, "sleep 779").await < 1 {} }).await;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(exec.pid()), nix::sys::signal::Signal::SIGKILL).expect("kill it");
    in_time("the end", async { while pod.count(&container, "sleep 778").await > 0 {} }).await;
    assert_eq!(pod.count(&container, "sleep 779").await, 1, "it goes on");
    drop(exec);
    in_time("the end of the rest", async { while pod.count(&container, "sleep 779").await > 0 {} }).await;
    pod.end().await;
}

#[tokio::test]
async fn an_exec_does_not_outlive_its_daemon_unless_it_is_detached() {
    let world = World::new();
    let pod = world.pod().await;
    let container = pod.run(&["sleep", "1000"]).await;
    let plan = world.dir.path().join("plan.json");
    fs::write(&plan, serde_json::to_vec(&container.plan).expect("plan")).expect("write");
    let daemon = std::process::Command::new(std::env::current_exe().expect("exe"))
        .args(["--exact", "--ignored", "a_daemon_to_be_killed"])
        .env("BERTH_TEST_POD", &pod.dir)
        .env("BERTH_TEST_PLAN", &plan)
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("spawn");
    let daemon = Killed(daemon);
    let runs = async |command: &str| pod.count(&container, command).await > 0;
    in_time("the daemon's execs", async { while !runs("sleep 702").await {} }).await;
    assert!(runs("sleep 701").await);
    drop(daemon);
    in_time("the exec's end", async { while runs("sleep 701").await {} }).await;
    assert!(runs("sleep 702").await, "the detached one goes on");
    assert!(runs("sleep 1000").await, "and the container");
    let sleep = ["sleep".to_owned(), "703".to_owned()];
    let dropped = pod.monitor.exec(&container.id, &plan::exec(&container.plan, &sleep, false), pipes()).await;
    assert!(runs("sleep 703").await);
    drop(dropped.expect("exec"));
    in_time("the dropped exec's end", async { while runs("sleep 703").await {} }).await;
    pod.end().await;
}

/// A process that is killed when the test is through with it, or fails.
struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Not a test: the process that the test above kills.
#[tokio::test]
#[ignore = "run by an_exec_does_not_outlive_its_daemon_unless_it_is_detached"]
async fn a_daemon_to_be_killed() {
    let (Some(dir), Some(plan)) = (std::env::var_os("BERTH_TEST_POD"), std::env::var_os("BERTH_TEST_PLAN")) else {
        return;
    };
    let plan: plan::ContainerPlan = serde_json::from_slice(&fs::read(plan).expect("plan")).expect("plan");
    let (monitor, _) = Monitor::connect(dir.as_ref()).await.expect("connect");
    let sleep = |time: &str| plan::exec(&plan, &["sleep".to_owned(), time.to_owned()], false);
    let _mine = monitor.exec(&plan.id, &sleep("701"), pipes()).await.expect("exec");
    let _detached = monitor.exec_detached(&plan.id, &sleep("702"), pipes()).await.expect("exec");
    std::future::pending().await
}

#[tokio::test]
async fn attached_clients_speak_to_the_container_and_its_end_is_theirs() {
    let world = World::new();
    let mut pod = world.pod().await;
    let mut config = ContainerConfig { stdin: true, stdin_once: true, ..ContainerConfig::default() };
    let container = pod.run_with(&mut config, &["sh"]).await;
    let all = Streams { stdin: true, stdout: true, stderr: true };
    let attached = pod.monitor.attach(&container.id, all).await.expect("attach");
    let mut watcher = pod.monitor.attach(&container.id, Streams { stdin: false, ..all }).await.expect("attach");
    let mut stdin = pipe::Sender::from_owned_fd(attached.stdin.expect("stdin")).expect("pipe");
    stdin.write_all(b"echo one; echo two >&2\necho three\n").await.expect("type");
    drop(stdin);
    let read = |end: Option<std::os::fd::OwnedFd>| async move {
        let mut text = String::new();
        let mut pipe = pipe::Receiver::from_owned_fd(end.expect("granted")).expect("pipe");
        in_time("the output", pipe.read_to_string(&mut text)).await.expect("read");
        text
    };
    assert_eq!(read(attached.stdout).await, "one\nthree\n");
    assert_eq!(read(attached.stderr).await, "two\n");
    assert_eq!(read(watcher.stdout.take()).await, "one\nthree\n");
    assert_eq!(pod.exit(&container).await.code, 0, "the shell has seen the end of its input");
    assert!(pod.monitor.attach(&container.id, all).await.is_err());
    pod.end().await;
}

#[tokio::test]
async fn a_terminal_has_a_size_and_logs_as_stdout() {
    let world = World::new();
    let mut pod = world.pod().await;
    let mut config = ContainerConfig { stdin: true, tty: true, ..ContainerConfig::default() };
    let script = "trap 'stty size' WINCH; echo ready >&2; until read x; do :; done; echo got $x; exit 5";
    let container = pod.run_with(&mut config, &["sh", "-c", script]).await;
    let all = Streams { stdin: true, stdout: true, stderr: true };
    let attached = pod.monitor.attach(&container.id, all).await.expect("attach");
    assert!(attached.stderr.is_none(), "a terminal has one output");
    until("the prompt", || log_of(&container).iter().any(|line| line.contains("ready"))).await;
    pod.monitor.resize(&container.id, 100, 40).await.expect("resize");
    until("the size", || log_of(&container).iter().any(|line| line.contains("40 100"))).await;
    let mut stdin = pipe::Sender::from_owned_fd_unchecked(attached.stdin.expect("stdin")).expect("pipe");
    stdin.write_all(b"word\n").await.expect("type");
    assert_eq!(pod.exit(&container).await.code, 5);
    assert_eq!(log_of(&container), ["stdout F ready", "stdout F 40 100", "stdout F word", "stdout F got word"]);
    let container = pod.run(&["sleep", "1000"]).await;
    let plan = plan::exec(&container.plan, &["sh".into(), "-c".into(), "read x; stty size".into()], true);
    let mut exec = pod.monitor.exec(&container.id, &plan, ExecStdio::Terminal).await.expect("exec");
    pod.monitor.resize(exec.id(), 33, 22).await.expect("resize");
    let mut console = fs::File::from(exec.console.take().expect("console"));
    console.write_all(b"\n").expect("type");
    assert_eq!(in_time("the end", exec.wait()).await.expect("wait").code, 0);
    let mut output = vec![0; 100];
    let length = std::io::Read::read(&mut console, &mut output).expect("read");
    assert!(String::from_utf8_lossy(&output[..length]).contains("22 33"));
    pod.end().await;
}

#[tokio::test]
async fn a_container_without_memory_is_reported_as_such() {
    let world = World::new();
    let mut pod = world.pod().await;
    let resources = Resources { memory_limit: 15 << 20, ..Resources::default() };
    let mut config = ContainerConfig { resources, ..ContainerConfig::default() };
    let container = pod.run_with(&mut config, &["dd", "if=/dev/zero", "of=/dev/null", "bs=20M"]).await;
    let status = pod.exit(&container).await;
    assert_eq!((status.code, status.reason), (137, ExitReason::OomKilled));
    pod.end().await;
}

#[tokio::test]
async fn a_shared_pid_namespace_ends_with_its_init() {
    let world = World::new();
    let mut pod = world.pod_with(NamespaceMode::Pod).await;
    let init = pod.monitor.init().expect("an init");
    let container = pod.run(&["sleep", "1000"]).await;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(init), nix::sys::signal::SIGKILL).expect("kill");
    let (mut init_exit, mut exit) = (None, None);
    while init_exit.is_none() || exit.is_none() {
        match in_time("events", pod.events.recv()).await.expect("event") {
            Event::InitExited { status } => init_exit = Some(status.code),
            Event::Exited { container: id, status } if id == container.id => exit = Some(status.code),
            event => panic!("{event:?}"),
        }
    }
    assert_eq!((init_exit, exit), (Some(137), Some(137)));
    pod.end().await;
    let pod = world.pod_with(NamespaceMode::Pod).await;
    pod.run(&["sleep", "1000"]).await;
    pod.end().await;
}

#[tokio::test]
async fn leftovers_on_the_nodes_pid_namespace_end_with_the_container() {
    let world = World::new();
    let mut pod = world.pod_with(NamespaceMode::Node).await;
    let container = pod.sh("setsid sleep 900 & (sleep 900 &); echo started; sleep 0.2").await;
    assert_eq!(pod.exit(&container).await.code, 0);
    assert_eq!(log_of(&container), ["stdout F started"]);
    until("orphans reaped", || {
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", pod.monitor.pid())).expect("children");
        children.trim().is_empty()
    })
    .await;
    pod.end().await;
}

#[tokio::test]
async fn processes_start_with_clean_signals_and_descriptors() {
    let world = World::new();
    let mut pod = world.pod().await;
    let show = "cat /proc/self/status; ls /proc/self/fd; cat /proc/self/oom_score_adj; echo last";
    let container = pod.sh(&format!("{show}; sleep 1000")).await;
    let (_, exec) = pod.exec_sync(&container, &["sh", "-c", show]).await;
    until("the output", || log_of(&container).iter().any(|line| line.ends_with("F last"))).await;
    pod.monitor.kill_all(&container.id).await.expect("kill");
    pod.exit(&container).await;
    for text in [log_of(&container).join("\n"), exec] {
        assert!(text.contains("SigBlk:\t0000000000000000") && text.contains("SigIgn:\t0000000000000000"), "{text}");
        let words: Vec<&str> = text.lines().rev().take(6).map(|line| line.trim_start_matches("stdout F ")).collect();
        assert_eq!(words, ["last", "0", "3", "2", "1", "0"], "{text}");
    }
    pod.end().await;
}

#[tokio::test]
async fn a_failed_launch_says_why_and_leaves_nothing() {
    let world = World::new();
    let pod = world.pod().await;
    let plan = pod.plan(&mut ContainerConfig::default(), &["/no/such/program"]);
    let error = pod.monitor.start(&plan, Default::default()).await.expect_err("refused");
    assert!(matches!(error.failure(), Some(Failure::Launch(_))), "{error:?}");
    let again = pod.monitor.kill_all(&plan.id).await.expect_err("not there");
    assert!(matches!(again.failure(), Some(Failure::NoContainer)));
    pod.end().await;
    // The pod itself: its directory is not there.
    let mut plan = world.pod_plan(&Default::default());
    plan.dir = world.dir.path().join("nowhere");
    let error = in_time("the refusal", world.spawner.pod(&plan)).await.expect_err("refused");
    assert!(error.failure().is_some(), "{error:?}");
}

#[tokio::test]
async fn a_dead_spawner_is_replaced() {
    let world = World::new();
    let pod = world.pod().await;
    let status = fs::read_to_string(format!("/proc/{}/status", pod.monitor.pid())).expect("status");
    let spawner = status.lines().find_map(|line| line.strip_prefix("PPid:\t")).expect("a parent").parse().expect("pid");
    assert!(status.starts_with("Name:\tberth:monitor\n"));
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(spawner), nix::sys::signal::SIGKILL).expect("kill");
    until("the spawner's death", || {
        fs::read_to_string(format!("/proc/{spawner}/stat")).is_ok_and(|stat| stat.contains(") Z "))
    })
    .await;
    world.pod().await.end().await;
    pod.end().await;
}

#[tokio::test]
async fn nobody_can_write_to_the_program_that_monitors_run() {
    let world = World::new();
    let pod = world.pod().await;
    // A running program is busy anyway; it is the mount that protects it afterwards.
    let program = fs::File::open(format!("/proc/{}/exe", pod.monitor.pid())).expect("open");
    let flags = rustix::fs::fstatvfs(&program).expect("statvfs").f_flag;
    assert!(flags.contains(rustix::fs::StatVfsMountFlags::RDONLY), "{flags:?}");
    pod.end().await;
}

#[tokio::test]
async fn pods_are_made_at_the_same_time() {
    let world = World::new();
    let pods = futures_util::future::join_all((0..8).map(|_| world.pod())).await;
    let ended = pods.into_iter().map(world::Pod::end);
    futures_util::future::join_all(ended).await;
}

#[tokio::test]
async fn an_idle_monitor_is_small() {
    let world = World::new();
    let pod = world.pod().await;
    let container = pod.sh("echo hello; exec sleep 1000").await;
    until("the output", || !log_of(&container).is_empty()).await;
    let smaps = fs::read_to_string(format!("/proc/{}/smaps", pod.monitor.pid())).expect("smaps");
    let private = private_memory(&smaps);
    println!("idle monitor: {private} KiB");
    assert!(private < 300, "{private} KiB");
    pod.end().await;
}

/// KiB of memory that no other process has part in: without the program's file, whose pages count as the process's own
/// as long as nobody else happens to run it.
fn private_memory(smaps: &str) -> u64 {
    let (mut total, mut dirty) = (0, 0);
    for line in smaps.lines() {
        let kib = || line.split_whitespace().nth(1).expect("number").parse::<u64>().expect("KiB");
        if line.starts_with("Private_Dirty:") {
            dirty = kib();
        } else if line.starts_with("Anonymous:") {
            total += dirty.min(kib());
        }
    }
    total
}
