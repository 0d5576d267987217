//! The command line, as people and their scripts use it.

use std::{
    io::Write as _,
    process::{Command, Output, Stdio},
};

use serde_json::Value;

use crate::support::{Archive, BUSYBOX, Daemon, eventually};

/// Runs the client where it does not block the test's own thread: servers of the test may have to answer it.
pub(crate) async fn berth(daemon: &Daemon, arguments: &[&str]) -> Output {
    let mut command = daemon.cli(arguments);
    tokio::task::spawn_blocking(move || command.output().expect("run berth")).await.expect("the thread")
}

/// Runs the client, which must succeed, and returns its standard output.
pub(crate) async fn text(daemon: &Daemon, arguments: &[&str]) -> String {
    let output = berth(daemon, arguments).await;
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "berth {arguments:?}: {} {stderr}", output.status);
    String::from_utf8(output.stdout).expect("UTF-8")
}

pub(crate) async fn json(daemon: &Daemon, arguments: &[&str]) -> Value {
    serde_json::from_str(&text(daemon, arguments).await).expect("JSON")
}

pub(crate) fn code(output: &Output) -> i32 {
    output.status.code().expect("an exit code")
}

#[tokio::test]
async fn run_shows_the_output_and_ends_with_the_commands_code() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let output = berth(&daemon, &["run", "--rm", BUSYBOX, "sh", "-c", "echo out; echo err >&2; exit 42"]).await;
    assert_eq!(code(&output), 42);
    assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (b"out\n".as_slice(), b"err\n".as_slice()));
    assert_eq!(json(&daemon, &["ps", "--all", "--json"]).await, Value::Array(vec![]));
    assert_eq!(json(&daemon, &["pod", "ls", "--json"]).await, Value::Array(vec![]));
    let logs = std::fs::read_dir(daemon.path("logs")).map(Iterator::count).unwrap_or(0);
    assert_eq!(logs, 0, "a log is left");
}

#[tokio::test]
async fn commands_that_cannot_run_have_their_codes() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    for (command, wanted) in [("/no/such/program", 127), ("/etc/passwd", 126)] {
        let output = berth(&daemon, &["run", "--rm", BUSYBOX, command]).await;
        assert_eq!(code(&output), wanted, "{}", String::from_utf8_lossy(&output.stderr));
    }
    let output = berth(&daemon, &["run", "--pull=never", "no-such-image", "true"]).await;
    assert_eq!(code(&output), 125);
    assert!(String::from_utf8_lossy(&output.stderr).contains("no such image"));
    assert_eq!(json(&daemon, &["pod", "ls", "--json"]).await, Value::Array(vec![]), "a pod is left");
}

#[tokio::test]
async fn a_container_in_the_background_is_listed_watched_stopped_and_removed() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let script = "echo started; echo $GREETING; trap 'echo bye; exit 3' TERM; while :; do sleep 0.05; done";
    let run = ["run", "-d", "--name", "web", "-e", "GREETING=hello", "-l", "tier=front", BUSYBOX, "sh", "-c", script];
    let id = text(&daemon, &run).await.trim().to_owned();
    assert_eq!(id.len(), 64);

    let table = text(&daemon, &["ps"]).await;
    assert!(table.lines().count() == 2 && table.contains(&id[..13]) && table.contains("running"), "{table}");
    assert_eq!(json(&daemon, &["ps", "--json"]).await[0]["id"], id.as_str());
    assert_eq!(text(&daemon, &["ps", "-q", "-l", "tier=front"]).await.trim(), id);
    assert_eq!(text(&daemon, &["ps", "-q", "-l", "tier=back"]).await, "");
    assert_eq!(json(&daemon, &["inspect", "web"]).await[0]["status"]["state"], "CONTAINER_RUNNING");
    assert_eq!(json(&daemon, &["pod", "inspect", "web"]).await[0]["status"]["state"], "SANDBOX_READY");

    let output = berth(&daemon, &["exec", &id[..8], "sh", "-c", "echo in; echo er >&2; exit 5"]).await;
    assert_eq!((code(&output), output.stdout.as_slice(), output.stderr.as_slice()), (5, &b"in\n"[..], &b"er\n"[..]));
    assert_eq!(code(&berth(&daemon, &["exec", "web", "/no/such/program"]).await), 127);
    let stats = text(&daemon, &["stats", "web"]).await;
    assert!(stats.contains("web") && stats.contains('%'), "{stats}");

    let output = berth(&daemon, &["rm", "web"]).await;
    assert_eq!(code(&output), 1);
    assert!(String::from_utf8_lossy(&output.stderr).contains("hint: stop it first"));
    let follow = text(&daemon, &["logs", "-f", "web"]);
    let stop = text(&daemon, &["stop", "web"]);
    let (followed, _) = tokio::join!(follow, stop);
    assert_eq!(followed, "started\nhello\nbye\n");
    assert_eq!(text(&daemon, &["logs", "--tail", "1", "web"]).await, "bye\n");
    let line = text(&daemon, &["logs", "--timestamps", "--tail=1", "web"]).await;
    assert!(line.ends_with(" bye\n") && line.contains('T'), "{line}");
    assert_eq!(text(&daemon, &["logs", "--since", "2999-01-01T00:00:00Z", "web"]).await, "");

    text(&daemon, &["rm", "web"]).await;
    assert_eq!(json(&daemon, &["pod", "ls", "--json"]).await, Value::Array(vec![]), "its pod is left");
}

#[tokio::test]
async fn pods_are_made_from_flags_and_from_files() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let file = daemon.path("pod.json");
    std::fs::write(&file, r#"{"metadata": {"name": "filed", "namespace": "n"}, "labels": {"a": "b"}}"#)
        .expect("write the file");
    let id = text(&daemon, &["pod", "run", "--config", &file.display().to_string(), "--hostname", "flagged"]).await;
    let name = text(&daemon, &["run", "--rm", "--pod", id.trim(), BUSYBOX, "hostname"]).await;
    assert_eq!(name, "flagged\n");
    text(&daemon, &["pod", "run", "--name", "second", "-p", "12000:80"]).await;
    let table = text(&daemon, &["pod", "ls"]).await;
    assert!(table.contains("filed") && table.contains("second") && table.contains("ready"), "{table}");
    text(&daemon, &["pod", "stop", "second", "filed"]).await;
    assert_eq!(text(&daemon, &["pod", "ls", "--quiet", "--ready"]).await, "");
    text(&daemon, &["pod", "rm", "--all"]).await;
    std::fs::write(&file, r#"{"metadta": {}}"#).expect("write the file");
    let output = berth(&daemon, &["pod", "run", "--config", &file.display().to_string()]).await;
    assert!(String::from_utf8_lossy(&output.stderr).contains("metadta"));
}

#[tokio::test]
async fn images_are_imported_listed_and_removed() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let file = daemon.path("image.tar");
    std::fs::write(&file, Archive::busybox().oci_layout("tools:1")).expect("write the archive");
    let path = file.display().to_string();
    let imported = text(&daemon, &["image", "import", &path]).await;
    assert!(imported.contains(&Archive::busybox().id()) && imported.contains("tools:1"), "{imported}");
    let mut command = daemon.cli(&["image", "import", "--name", "piped:2", "-"]);
    let archive = std::fs::File::open(&file).expect("open the archive");
    assert!(command.stdin(archive).stdout(Stdio::null()).status().expect("run berth").success());
    let table = text(&daemon, &["image", "ls"]).await;
    assert!(table.contains("tools") && table.contains("piped") && table.contains("MB"), "{table}");
    assert_eq!(
        json(&daemon, &["image", "inspect", "tools:1"]).await[0]["status"]["id"],
        Archive::busybox().id().as_str()
    );
    text(&daemon, &["image", "rm", "tools:1"]).await;
    assert_eq!(json(&daemon, &["image", "ls", "--json"]).await, Value::Array(vec![]));
    assert_eq!(code(&berth(&daemon, &["image", "rm", "tools:1"]).await), 1);
    assert_eq!(code(&berth(&daemon, &["image", "import", "/no/such/file"]).await), 1);
}

#[tokio::test]
async fn the_engine_is_described() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let version = json(&daemon, &["version", "--json"]).await;
    assert_eq!(version["engine"]["runtimeName"], "berth");
    let info = text(&daemon, &["info"]).await;
    assert!(info.contains("RuntimeReady") && info.contains("NetworkReady"), "{info}");
    json(&daemon, &["info", "--json"]).await;
}

#[tokio::test]
async fn an_interrupted_run_stops_its_container() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let script = "trap 'echo stopped; exit 9' TERM; echo ready; while :; do sleep 0.05; done";
    let mut command = daemon.cli(&["run", "--rm", "--name", "c", BUSYBOX, "sh", "-c", script]);
    let child = command.stdout(Stdio::piped()).spawn().expect("run berth");
    let is_ready = async || berth(&daemon, &["logs", "c"]).await.stdout.starts_with(b"ready");
    eventually("it runs", is_ready).await;
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("a process id"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).expect("interrupt it");
    let output =
        tokio::task::spawn_blocking(move || child.wait_with_output().expect("wait")).await.expect("the thread");
    assert_eq!((code(&output), output.stdout.as_slice()), (9, &b"ready\nstopped\n"[..]));
}

#[tokio::test]
async fn a_reader_that_goes_away_is_no_disaster() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let mut command = daemon.cli(&["run", "--rm", BUSYBOX, "seq", "1", "100000"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("run berth");
    drop(child.stdout.take());
    let output =
        tokio::task::spawn_blocking(move || child.wait_with_output().expect("wait")).await.expect("the thread");
    assert_eq!(code(&output), 141);
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(json(&daemon, &["pod", "ls", "--json"]).await, Value::Array(vec![]), "a pod is left");
}

#[test]
fn without_an_engine_there_is_a_hint() {
    let run =
        |arguments: &[&str]| Command::new(env!("CARGO_BIN_EXE_berth")).args(arguments).output().expect("run berth");
    let output = run(&["--host", "unix:///no/such/socket", "ps"]);
    assert_eq!(code(&output), 1);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("/no/such/socket") && stderr.contains("berth serve"), "{stderr}");
    assert_eq!(code(&run(&["--host", "unix:///no/such/socket", "run", "x"])), 125);
    assert_eq!(code(&run(&["--host", "tcp://1.2.3.4", "ps"])), 2);
    assert_eq!(code(&run(&["no-such-verb"])), 2);
}

#[test]
fn every_shell_gets_a_completion_script() {
    for shell in ["bash", "zsh", "fish"] {
        let output = Command::new(env!("CARGO_BIN_EXE_berth")).args(["completion", shell]).output().expect("run berth");
        assert!(output.status.success());
        assert!(String::from_utf8_lossy(&output.stdout).contains("berth"), "{shell}");
    }
    let mut bash = Command::new("bash").arg("-n").stdin(Stdio::piped()).spawn().expect("run bash");
    let output = Command::new(env!("CARGO_BIN_EXE_berth")).args(["completion", "bash"]).output().expect("run berth");
    bash.stdin.take().expect("its input").write_all(&output.stdout).expect("write");
    assert!(bash.wait().expect("wait for bash").success(), "the script does not parse");
}
