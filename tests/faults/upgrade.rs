//! A daemon of another version takes over from the last one: pods go on, whatever version their monitors are of.
//!
//! The versions are those of the protocol between daemon and monitors. The build has some of them;
//! `BERTH_FAULT_PROTOCOLS` has it speak others. How it reads what version 1 wrote is in `src/monitor/wire/tests.rs`.

use std::fs;

use berth::wire::{ContainerState, PodSandboxState};
use tonic::Code;

use crate::support::{Daemon, eventually, log_text, pod, shell};

/// Ends with 7 when it is asked to, or with 3 when `/go` says so.
const SCRIPT: &str =
    "trap 'exit 7' TERM; i=0; while ! test -e /tmp/go; do echo $i; i=$((i+1)); sleep 0.1; done; exit 3";

/// Replaces the daemon by one that speaks these versions.
async fn replace(daemon: &mut Daemon, versions: Option<&str>) {
    daemon.kill();
    match versions {
        Some(versions) => {
            let environment = [("BERTH_FAULT_PROTOCOLS", versions.to_owned())];
            assert!(daemon.try_start_again(&environment).await, "the daemon ended:\n{}", daemon.output());
        }
        None => daemon.start_again().await,
    }
}

/// Nothing of what a container wrote is lost or doubled.
async fn expect_whole_log(daemon: &Daemon, container: &str) {
    let text = log_text(&daemon.status(container).await);
    let is_whole = text.lines().zip(0..).all(|(line, number): (&str, i32)| line == number.to_string());
    assert!(is_whole && !text.is_empty(), "{text}");
}

#[tokio::test]
async fn a_newer_daemon_and_then_an_older_one_take_over_all_pods() {
    requires!(Root);
    let mut daemon = Daemon::start().await;
    daemon.import_busybox().await;
    replace(&mut daemon, Some("1-1")).await;
    let config = pod(&daemon, "p");
    let old = daemon.run_pod(&config).await;
    let running = daemon.run(&old, &shell("running", SCRIPT), &config).await;
    let created = daemon.create(&old, &shell("created", SCRIPT), &config).await;
    let pid = daemon.container_pid(&running).await;

    replace(&mut daemon, Some("1-9")).await;
    assert_eq!(daemon.pod_status(&old).await.state(), PodSandboxState::SandboxReady);
    assert_eq!(daemon.container_pid(&running).await, pid);
    assert_eq!(daemon.exec(&running, &["echo", "word"]).await, "word");
    daemon.try_start(&created).await.expect("start what was created before");
    let more = daemon.run(&old, &shell("more", SCRIPT), &config).await;
    let other = pod(&daemon, "q");
    let new = daemon.run_pod(&other).await;
    let in_new = daemon.run(&new, &shell("c", SCRIPT), &other).await;
    daemon.exec(&created, &["touch", "/tmp/go"]).await;
    assert_eq!(daemon.wait_for_end(&created).await.exit_code, 3);

    replace(&mut daemon, None).await;
    for container in [&running, &more, &in_new] {
        assert_eq!(daemon.exec(container, &["echo", "word"]).await, "word");
        daemon.stop(container, 30).await;
        assert_eq!(daemon.status(container).await.exit_code, 7);
        expect_whole_log(&daemon, container).await;
    }
    assert_eq!(daemon.status(&created).await.exit_code, 3);
}

#[tokio::test]
async fn pods_of_monitors_that_are_too_old_go_on_and_can_be_stopped() {
    requires!(Root);
    let mut daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let config = pod(&daemon, "old");
    let old = daemon.run_pod(&config).await;
    let [stays, ends, stops] = ["stays", "ends", "stops"].map(|name| shell(name, SCRIPT));
    let stays = daemon.run(&old, &stays, &config).await;
    let ends = daemon.run(&old, &ends, &config).await;
    let stops = daemon.run(&old, &stops, &config).await;
    let pid = daemon.container_pid(&stays).await;
    let root = format!("/proc/{}/root", daemon.container_pid(&ends).await);

    replace(&mut daemon, Some("9-9")).await;
    assert_eq!(daemon.pod_status(&old).await.state(), PodSandboxState::SandboxReady);
    for container in [&stays, &ends, &stops] {
        assert_eq!(daemon.status(container).await.state(), ContainerState::ContainerRunning);
    }
    let refused = daemon.try_exec(&stays, &["true"], 10).await.expect_err("nobody to ask");
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused:?}");
    assert!(refused.message().contains("of the protocol, which this engine does not"), "{refused:?}");
    fs::write(format!("{root}/tmp/go"), "").expect("let it end");
    assert_eq!(daemon.wait_for_end(&ends).await.exit_code, 3);
    daemon.stop(&stops, 30).await;
    assert_eq!(daemon.status(&stops).await.exit_code, 7);
    let other = pod(&daemon, "new");
    let new = daemon.run_pod(&other).await;
    let in_new = daemon.run(&new, &shell("c", SCRIPT), &other).await;
    daemon.exec(&in_new, &["true"]).await;
    assert_eq!(daemon.container_pid(&stays).await, pid);

    // Back again, it is the other pod whose monitor cannot be talked to.
    replace(&mut daemon, None).await;
    assert_eq!(daemon.exec(&stays, &["echo", "word"]).await, "word");
    assert_eq!(daemon.container_pid(&stays).await, pid);
    expect_whole_log(&daemon, &stays).await;
    daemon.try_exec(&in_new, &["true"], 10).await.expect_err("nobody to ask");
    daemon.remove_pod(&new).await;

    replace(&mut daemon, Some("9-9")).await;
    let monitor = daemon.monitor_pid(&stays).await;
    daemon.remove_pod(&old).await;
    eventually("its monitor has ended", async || !fs::exists(format!("/proc/{monitor}")).unwrap_or(true)).await;
}
