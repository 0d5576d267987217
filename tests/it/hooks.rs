//! Hooks of devices: programs of the host that are run on a container's way.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use berth::wire::{ContainerConfig, ContainerState};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    cdi::{spec, start, with_devices},
    support::{Daemon, container, eventually, pod},
};

/// What a hook of a test does: it writes down what it sees, under the name of its phase, and reports to a file in the
/// container's root if it can see that.
const WITNESS: &str = r#"#!/bin/sh
set -e
out=$1; phase=$2
cat > $out/$phase.state
pwd > $out/$phase.cwd
for kind in mnt net ipc uts pid user; do echo $kind $(readlink /proc/self/ns/$kind); done > $out/$phase.ns
ls -l /proc/$$/fd > $out/$phase.fd
env | sort > $out/$phase.env
echo $phase >> $out/order
root=$(sed 's/.*"root":{"path":"\([^"]*\)".*/\1/' config.json)
if [ $phase = createContainer ]; then echo "made by a hook" > $root/etc/made; ls $root > $out/$phase.root; fi
if [ -n "$FAIL" ]; then echo "this hook has a reason" >&2; exit 7; fi
if [ -n "$HANG" ]; then sleep 1000 & echo $! > $out/$phase.sleeper; wait; fi
"#;

/// A host whose device has hooks.
struct Host {
    dir: TempDir,
    daemon: Daemon,
}

impl Host {
    async fn start() -> Self {
        let (dir, daemon) = start().await;
        let host = Self { dir, daemon };
        fs::create_dir(host.out()).expect("make a directory");
        let witness = host.dir.path().join("witness");
        fs::write(&witness, WITNESS).expect("write the hook");
        fs::set_permissions(&witness, fs::Permissions::from_mode(0o755)).expect("make it a program");
        host
    }

    fn out(&self) -> PathBuf {
        self.dir.path().join("out")
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.out().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Has the device call the witness in these phases, with one more variable for each.
    fn describe(&self, phases: &[(&str, &str)]) {
        let hook = |(phase, variable): &(&str, &str)| {
            let out = self.out();
            let limit = if variable.starts_with("HANG") { 1 } else { 60 };
            json!({
                "hookName": phase, "path": self.dir.path().join("witness"), "args": ["witness", out, phase],
                "env": ["PATH=/usr/bin:/bin", variable], "timeout": limit,
            })
        };
        let hooks: Vec<Value> = phases.iter().map(hook).collect();
        let devices = json!([{ "name": "x", "containerEdits": { "hooks": hooks } }]);
        fs::write(self.dir.path().join("etc/acme.json"), spec(&devices)).expect("write the specification");
    }

    /// The namespaces that a hook saw, by kind.
    fn namespaces(&self, phase: &str) -> Vec<(String, String)> {
        let seen = self.read(&format!("{phase}.ns"));
        seen.lines()
            .map(|line| line.split_once(' ').expect("two words"))
            .map(|(kind, namespace)| (kind.to_owned(), namespace.to_owned()))
            .collect()
    }

    fn state(&self, phase: &str) -> Value {
        serde_json::from_str(&self.read(&format!("{phase}.state"))).expect("the state is JSON")
    }
}

fn hooked(command: &[&str]) -> ContainerConfig {
    let mut config = with_devices(container("c", command), &["acme.com/part=x"]);
    config.annotations.insert("acme.com/mode".to_owned(), "fast".to_owned());
    config
}

fn namespaces_of(pid: i32) -> Vec<(String, String)> {
    let namespace = |kind: &str| {
        let link = fs::read_link(format!("/proc/{pid}/ns/{kind}")).expect("a namespace");
        (kind.to_owned(), link.to_string_lossy().into_owned())
    };
    ["mnt", "net", "ipc", "uts", "pid", "user"].map(namespace).into()
}

const ALL: [&str; 5] = ["prestart", "createRuntime", "createContainer", "poststart", "poststop"];

#[tokio::test]
async fn hooks_are_run_in_their_order_in_their_namespaces_and_know_the_container() {
    requires!(Root);
    let mut host = Host::start().await;
    let mut phases = ALL.map(|phase| (phase, "A=b"));
    phases.reverse();
    host.describe(&phases);
    let pod_config = pod(&host.daemon, "p");
    let pod = host.daemon.run_pod(&pod_config).await;
    let id = host.daemon.create(&pod, &hooked(&["sleep", "1000"]), &pod_config).await;
    assert!(!host.out().join("order").exists(), "nothing is run before the start");
    host.daemon.try_start(&id).await.expect("start");
    assert_eq!(host.read("order"), "prestart\ncreateRuntime\ncreateContainer\npoststart\n");

    let (ours, its) = (namespaces_of(host.daemon.pid()), namespaces_of(host.daemon.container_pid(&id).await));
    for phase in ["prestart", "createRuntime", "poststart"] {
        assert_eq!(host.namespaces(phase), ours, "{phase}");
    }
    assert_eq!(host.namespaces("createContainer"), its);
    assert_ne!(ours[0], its[0]);
    for (phase, status) in [
        ("prestart", "creating"),
        ("createRuntime", "creating"),
        ("createContainer", "creating"),
        ("poststart", "running"),
    ] {
        let state = host.state(phase);
        assert_eq!((&state["id"], &state["status"]), (&json!(id), &json!(status)), "{phase}");
        assert_eq!(state["annotations"]["acme.com/mode"], "fast");
        assert_eq!(host.read(&format!("{phase}.cwd")).trim(), state["bundle"].as_str().expect("a bundle"));
        let pid = if phase == "createContainer" { 1 } else { host.daemon.container_pid(&id).await };
        assert_eq!(state["pid"], pid, "{phase}");
        let own = host.dir.path().display().to_string();
        for line in host.read(&format!("{phase}.fd")).lines() {
            // A shell keeps its script open, and what it has put away for a redirection.
            let Some((descriptor, file)) = line.split_once(" -> ") else { continue };
            let is_stream = [" 0", " 1", " 2"].iter().any(|stream| descriptor.ends_with(stream));
            assert!(is_stream || file == "/dev/null" || file.starts_with(&own), "{phase} has {line}");
        }
        let env = host.read(&format!("{phase}.env"));
        let foreign =
            |line: &&str| !["A=", "PATH=", "PWD=", "OLDPWD=", "SHLVL=", "_="].iter().any(|own| line.starts_with(own));
        assert_eq!(env.lines().find(foreign), None, "{phase}");
    }
    let root = host.read("createContainer.root");
    assert!(root.lines().any(|name| name == "proc") && root.lines().any(|name| name == "bin"), "{root}");
    assert_eq!(host.daemon.exec(&id, &["cat", "/etc/made"]).await, "made by a hook");

    let bundle = PathBuf::from(host.state("poststart")["bundle"].as_str().expect("a bundle"));
    let config: Value = serde_json::from_slice(&fs::read(bundle.join("config.json")).expect("read")).expect("JSON");
    assert_eq!(config["process"]["args"], json!(["sleep", "1000"]));
    assert_eq!(config["hooks"]["poststop"][0]["path"], json!(host.dir.path().join("witness")));
    assert_eq!(config["root"]["path"], json!(bundle.join("rootfs")));
    let namespaces = config["linux"]["namespaces"].as_array().expect("namespaces");
    let network = namespaces.iter().find(|namespace| namespace["type"] == "network").expect("the network's");
    let network = fs::metadata(network["path"].as_str().expect("a path")).expect("it is there");
    assert!(its.contains(&("net".to_owned(), format!("net:[{}]", network.ino()))));
    assert_eq!(fs::metadata(&bundle).expect("a bundle").permissions().mode() & 0o777, 0o700);

    host.daemon.kill();
    host.daemon.start_again().await;
    host.daemon.stop(&id, 0).await;
    assert!(!host.out().join("poststop.state").exists(), "it is not removed yet");
    host.daemon.remove(&id).await;
    assert_eq!(host.state("poststop")["status"], "stopped");
    assert_eq!(host.namespaces("poststop"), namespaces_of(host.daemon.pid()));
    assert!(!bundle.exists());
}

#[tokio::test]
async fn a_hook_that_fails_is_named_and_the_container_does_not_start() {
    requires!(Root);
    let host = Host::start().await;
    let pod_config = pod(&host.daemon, "p");
    let pod = host.daemon.run_pod(&pod_config).await;
    for phase in ["prestart", "createRuntime", "createContainer"] {
        host.describe(&[(phase, "FAIL=yes"), ("poststart", "A=b"), ("poststop", "A=b")]);
        let id = host.daemon.create(&pod, &hooked(&["sleep", "1000"]), &pod_config).await;
        let refused = host.daemon.try_start(&id).await.expect_err("a hook fails");
        for part in [phase, "witness", "code 7", "this hook has a reason"] {
            assert!(refused.message().contains(part), "{part} in {refused:?}");
        }
        let status = host.daemon.status(&id).await;
        assert_eq!((status.state(), status.reason.as_str()), (ContainerState::ContainerExited, "StartError"));
        host.daemon.remove(&id).await;
        assert_eq!(host.read("order"), format!("{phase}\npoststop\n"), "what was begun is ended");
        fs::remove_file(host.out().join("order")).expect("remove");
    }
}

#[tokio::test]
async fn a_hook_that_hangs_is_killed_with_all_that_it_has_started() {
    requires!(Root);
    let host = Host::start().await;
    let pod_config = pod(&host.daemon, "p");
    let pod = host.daemon.run_pod(&pod_config).await;
    for phase in ["createRuntime", "createContainer"] {
        host.describe(&[(phase, "HANG=yes")]);
        let id = host.daemon.create(&pod, &hooked(&["sleep", "1000"]), &pod_config).await;
        let refused = host.daemon.try_start(&id).await.expect_err("a hook hangs");
        assert!(refused.message().contains(phase) && refused.message().contains("within 1 s"), "{refused:?}");
        host.daemon.remove(&id).await;
    }
    let mark = host.dir.path().to_path_buf();
    eventually("no hook is left", async || !runs_from(&mark)).await;
    // The pod has stayed usable.
    fs::remove_file(host.dir.path().join("etc/acme.json")).expect("remove");
    host.daemon.run(&pod, &container("after", &["sleep", "1000"]), &pod_config).await;
}

/// Whether a process has something of a directory on its command line.
fn runs_from(directory: &Path) -> bool {
    let directory = directory.to_string_lossy().into_owned();
    let processes = fs::read_dir("/proc").expect("processes").flatten();
    let lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    lines.map(|line| String::from_utf8_lossy(&line).into_owned()).any(|line| line.contains(&directory))
}

#[tokio::test]
async fn hooks_that_come_too_late_to_stop_anything_are_only_logged() {
    requires!(Root);
    let host = Host::start().await;
    host.describe(&[("poststart", "FAIL=yes"), ("poststart", "A=b"), ("poststop", "FAIL=yes")]);
    let pod_config = pod(&host.daemon, "p");
    let pod = host.daemon.run_pod(&pod_config).await;
    let id = host.daemon.create(&pod, &hooked(&["sleep", "1000"]), &pod_config).await;
    host.daemon.try_start(&id).await.expect("start");
    assert_eq!(host.read("order"), "poststart\npoststart\n", "the second one, too");
    assert_eq!(host.daemon.status(&id).await.state(), ContainerState::ContainerRunning);
    host.daemon.stop_pod(&pod).await;
    assert_eq!(host.read("order"), "poststart\npoststart\npoststop\n");
    host.daemon.remove_pod(&pod).await;
    assert_eq!(host.read("order"), "poststart\npoststart\npoststop\n", "once");
    let log = host.daemon.output();
    for phase in ["poststart", "poststop"] {
        assert!(log.lines().any(|line| line.contains("hook failed") && line.contains(phase)), "{log}");
    }
}
