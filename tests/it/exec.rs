//! ExecSync.

use std::time::{Duration, Instant};

use berth::wire::{Capability, ContainerState, ExecSyncRequest, LinuxContainerResources};
use tonic::Code;

use crate::support::{Daemon, container, eventually, pod, refusal, security, shell};

/// A daemon with one running container.
async fn with_container(daemon: &Daemon) -> String {
    daemon.run_sleeper().await.1
}

#[tokio::test]
async fn output_and_exit_code_come_back() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let id = with_container(&daemon).await;
    let answer = daemon.try_exec(&id, &["sh", "-c", "echo out; echo err >&2; exit 3"], 0).await.expect("a response");
    assert_eq!(answer.stdout, b"out\n");
    assert_eq!(answer.stderr, b"err\n");
    assert_eq!(answer.exit_code, 3);
    let answer = daemon.try_exec(&id, &["sh", "-c", "kill -KILL $$"], 0).await.expect("a response");
    assert_eq!(answer.exit_code, 137);
}

#[tokio::test]
async fn a_timeout_kills_the_whole_tree() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let id = with_container(&daemon).await;
    let command = ["sh", "-c", "sleep 4242 & (setsid sleep 4242) & sleep 4242"];
    let (code, _) = refusal(daemon.try_exec(&id, &command, 1).await.map(tonic::Response::new));
    assert_eq!(code, Code::DeadlineExceeded);
    assert!(!daemon.exec(&id, &["ps", "-o", "args"]).await.contains("sleep 4242"));
}

#[tokio::test]
async fn a_child_that_keeps_the_output_open_does_not_hold_the_answer() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let id = with_container(&daemon).await;
    let started = Instant::now();
    let answer = daemon.try_exec(&id, &["sh", "-c", "echo before; sleep 600 & exit 0"], 0).await.expect("a response");
    assert!(started.elapsed() < Duration::from_secs(60));
    assert_eq!((answer.stdout.as_slice(), answer.exit_code), (b"before\n".as_slice(), 0));
}

#[tokio::test]
async fn a_child_that_goes_on_to_write_does_not_hold_the_answer() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let id = with_container(&daemon).await;
    let command = ["sh", "-c", "echo first; (while :; do echo more; sleep 0.5; done) & exit 3"];
    let answer = tokio::time::timeout(Duration::from_secs(60), daemon.try_exec(&id, &command, 0)).await;
    let answer = answer.expect("an answer").expect("execute");
    assert_eq!(answer.exit_code, 3);
    assert!(answer.stdout.starts_with(b"first\nmore\n"));
}

#[tokio::test]
async fn a_command_has_the_containers_identity_environment_and_confinement() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let config = pod(&daemon, "p");
    let pod = daemon.run_pod(&config).await;
    let mut confined = container("c", &["sleep", "1000"]);
    confined.working_dir = "/tmp".into();
    confined.envs = vec![berth::wire::KeyValue { key: "COLOUR".into(), value: "red".into() }];
    let context = security(&mut confined);
    context.run_as_user = Some(berth::wire::Int64Value { value: 1000 });
    context.no_new_privs = true;
    let id = daemon.run(&pod, &confined, &config).await;
    assert_eq!(daemon.exec(&id, &["sh", "-c", "echo $COLOUR $PWD $(id -u)"]).await, "red /tmp 1000");
    let status = async |pid: &str| {
        let status = daemon.exec(&id, &["cat", &format!("/proc/{pid}/status")]).await;
        let wanted =
            ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp:", "Uid", "Gid", "Groups"];
        status
            .lines()
            .filter(|line| wanted.iter().any(|key| line.starts_with(key)))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(status("1").await, status("self").await);
    let cgroup = async |pid: &str| daemon.exec(&id, &["cat", &format!("/proc/{pid}/cgroup")]).await;
    assert!(!cgroup("self").await.is_empty());
}

#[tokio::test]
async fn what_cannot_be_executed_is_refused() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let id = with_container(&daemon).await;
    let exec =
        async |id: &str, command: &[&str]| refusal(daemon.try_exec(id, command, 5).await.map(tonic::Response::new));
    let (_, message) = exec(&id, &["/no/such/program"]).await;
    assert!(message.contains("/no/such/program") && message.to_lowercase().contains("no such file"), "{message}");
    assert_eq!(exec(&id, &[]).await.0, Code::InvalidArgument);
    assert_eq!(exec(&"0".repeat(64), &["true"]).await.0, Code::NotFound);
    daemon.stop(&id, 0).await;
    assert_eq!(exec(&id, &["true"]).await.0, Code::FailedPrecondition);
}

#[tokio::test]
async fn more_output_than_fits_into_an_answer_is_cut() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let id = with_container(&daemon).await;
    // What kubelet takes at most.
    let mut kubelet = daemon.runtime().max_decoding_message_size(16 << 20);
    for (script, stdout, stderr) in [
        ("head -c 20000000 /dev/zero; exit 5", 16_000_000.., 0..=0),
        ("head -c 20000000 /dev/zero; echo why >&2; exit 5", 16_000_000.., 4..=4),
        ("head -c 20000000 /dev/zero; head -c 20000000 /dev/zero >&2; exit 5", 8_000_000.., 8_000_000..=9_000_000),
    ] {
        let cmd = ["sh", "-c", script].map(str::to_owned).to_vec();
        let request = ExecSyncRequest { container_id: id.clone(), cmd, timeout: 0 };
        let answer = kubelet.exec_sync(request).await.expect("an answer that kubelet takes").into_inner();
        assert_eq!(answer.exit_code, 5, "{script}");
        let lengths = (answer.stdout.len(), answer.stderr.len());
        assert!(stdout.contains(&lengths.0) && stderr.contains(&lengths.1), "{script}: {lengths:?}");
    }
}

#[tokio::test]
async fn many_commands_run_at_once() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let id = with_container(&daemon).await;
    let commands = (0..30).map(|number: u32| {
        let (daemon, id) = (&daemon, &id);
        async move {
            let word = number.to_string();
            assert_eq!(daemon.exec(id, &["echo", &word]).await, word);
        }
    });
    futures_util::future::join_all(commands).await;
    let zombies = daemon.exec(&id, &["ps", "-o", "stat"]).await;
    assert!(!zombies.contains('Z'), "{zombies}");
}

#[tokio::test]
async fn a_command_has_no_capability_that_the_container_dropped() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let config = pod(&daemon, "p");
    let pod = daemon.run_pod(&config).await;
    let mut reduced = container("c", &["sleep", "1000"]);
    let drop_capabilities = vec!["NET_RAW".to_owned(), "CHOWN".to_owned()];
    security(&mut reduced).capabilities = Some(Capability { drop_capabilities, ..Default::default() });
    let id = daemon.run(&pod, &reduced, &config).await;
    let script = "echo before; ping -c 1 127.0.0.1";
    let answer = daemon.try_exec(&id, &["sh", "-c", script], 30).await.expect("a response");
    let stderr = String::from_utf8_lossy(&answer.stderr);
    assert!(answer.exit_code != 0 && answer.stdout.starts_with(b"before\n"), "{answer:?}");
    assert!(stderr.contains("permission denied"), "{stderr}");
    let sets = async |pid: &str| daemon.exec(&id, &["grep", "Cap", &format!("/proc/{pid}/status")]).await;
    assert_eq!(sets("self").await, sets("1").await);
}

#[tokio::test]
async fn a_command_is_answered_when_its_container_ends() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let config = pod(&daemon, "p");
    let pod = daemon.run_pod(&config).await;
    let main = shell("main", "while ! test -e /end; do sleep 0.05; done");
    for (name, ends_by_itself) in [("by-itself", true), ("killed", false)] {
        let mut main = main.clone();
        main.metadata.as_mut().expect("metadata").name = name.to_owned();
        let id = daemon.run(&pod, &main, &config).await;
        let cmd = ["sh", "-c", "echo before; sleep 4444"].map(str::to_owned).to_vec();
        let (mut runtime, request) = (daemon.runtime(), ExecSyncRequest { container_id: id.clone(), cmd, timeout: 0 });
        let command = tokio::spawn(async move { runtime.exec_sync(request).await });
        let runs = async || daemon.exec(&id, &["ps", "-o", "args"]).await.contains("sleep 4444");
        eventually("the command runs", runs).await;
        if ends_by_itself {
            daemon.exec(&id, &["touch", "/end"]).await;
        } else {
            daemon.stop(&id, 0).await;
        }
        let answer = tokio::time::timeout(Duration::from_secs(60), command).await.expect("an answer in time");
        let answer = answer.expect("the task").expect("a response").into_inner();
        assert_eq!((answer.exit_code, answer.stdout.as_slice()), (137, b"before\n".as_slice()), "{name}");
    }
}

/// kubelet wants all processes of a container killed together on cgroup v2; elsewhere the kernel picks one.
#[tokio::test]
async fn a_command_that_is_killed_for_memory_is_answered() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let config = pod(&daemon, "p");
    let pod = daemon.run_pod(&config).await;
    let mut limited = container("c", &["sleep", "1000"]);
    let together = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let unified = together.then(|| ("memory.oom.group".to_owned(), "1".to_owned())).into_iter().collect();
    limited.linux.get_or_insert_default().resources =
        Some(LinuxContainerResources { memory_limit_in_bytes: 20 << 20, unified, ..Default::default() });
    let id = daemon.run(&pod, &limited, &config).await;
    let hungry = ["dd", "if=/dev/zero", "of=/dev/null", "bs=40M", "count=1"];
    assert_eq!(daemon.try_exec(&id, &hungry, 60).await.expect("a response").exit_code, 137);
    if together {
        let status = daemon.wait_for_end(&id).await;
        assert_eq!((status.exit_code, status.reason.as_str()), (137, "OOMKilled"));
    } else {
        assert_eq!(daemon.status(&id).await.state(), ContainerState::ContainerRunning);
        daemon.exec(&id, &["true"]).await;
    }
}
