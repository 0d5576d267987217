//! Verbs about the host: what it lacks, and how it is rid of the engine.

use std::{
    fs,
    process::{Output, Stdio},
};

use serde_json::Value;

use crate::support::{Daemon, eventually};

/// Runs a verb with the daemon's settings, without a terminal.
async fn berth(daemon: &Daemon, verb: &[&str]) -> Output {
    let mut command = daemon.cli(verb);
    command.arg("--config").arg(daemon.path("config.toml")).env("BERTH_TEST_MARK", daemon.mark());
    command.stdin(Stdio::null());
    tokio::task::spawn_blocking(move || command.output().expect("run berth")).await.expect("the thread")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn a_host_that_runs_the_engine_has_no_errors() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let output = berth(&daemon, &["check", "--json"]).await;
    let findings: Vec<Value> = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(output.status.success(), "{findings:#?} {}", stderr(&output));
    let found = |topic: &str| findings.iter().find(|finding| finding["topic"] == topic).expect(topic)["found"].clone();
    assert_eq!(found("engine"), "runs");
    assert_eq!(found("pod network"), "links, forwarding and nftables work");
    assert!(daemon.leftovers().links.iter().all(|link| link == "berth0"), "it tried things out on the host itself");
}

#[tokio::test]
async fn what_cannot_work_is_an_error_with_advice() {
    requires!(Root);
    let daemon = Daemon::start().await;
    // A subnet without room for a pod.
    let output = berth(&daemon, &["check", "--set", "network.subnets=[\"10.0.0.0/32\"]"]).await;
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}{}", stderr(&output));
    let line = text.lines().find(|line| line.starts_with("ERROR")).unwrap_or_else(|| panic!("{text}"));
    assert!(line.contains("pod network") && text.contains("→ "), "{text}");
}

#[tokio::test]
async fn a_reset_takes_everything_of_the_engine_and_nothing_else() {
    requires!(Root);
    let mut daemon = Daemon::start().await;
    daemon.run_sleeper().await;
    fs::write(daemon.path("root/foreign"), "").expect("write a file that is not the engine's");
    // As when a cgroup could not be removed.
    fs::create_dir(daemon.path("run/cgroups")).expect("make the directory of notes");
    fs::write(daemon.path("run/cgroups/note"), "").expect("write a note");

    let output = berth(&daemon, &["system", "reset", "--force"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("another engine runs"), "{}", stderr(&output));
    daemon.kill();
    let output = berth(&daemon, &["system", "reset"]).await;
    assert!(stderr(&output).contains("--force"), "{}", stderr(&output));

    let output = berth(&daemon, &["system", "reset", "--force"]).await;
    assert!(output.status.success(), "{}", stderr(&output));
    eventually("nothing is left", async || {
        let left = daemon.leftovers();
        left.processes.is_empty() && left.mounts.is_empty() && left.cgroups.is_empty() && left.links.is_empty()
    })
    .await;
    let names: Vec<_> = fs::read_dir(daemon.path("root")).expect("the root").flatten().map(|e| e.file_name()).collect();
    assert_eq!(names, ["foreign"]);
    assert!(!daemon.path("run").exists(), "the state directory is left");
}
