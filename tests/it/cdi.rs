//! Devices by name, as vendors describe them for the Container Device Interface.

use std::fs;

use berth::wire::{CdiDevice, ContainerConfig};
use serde_json::{Value, json};
use tempfile::TempDir;
use tonic::Code;

use crate::support::{Daemon, container, pod, security, shell};

/// A daemon that reads specifications from directories of the test's own: `etc`, then `run`.
pub(crate) async fn start() -> (TempDir, Daemon) {
    let dir = tempfile::Builder::new().prefix("berth-test-cdi").tempdir().expect("make a directory");
    for name in ["etc", "run"] {
        fs::create_dir(dir.path().join(name)).expect("make a directory");
    }
    let of = |name: &str| dir.path().join(name).display().to_string();
    let settings = format!("[runtime]\ncdi_spec_dirs = [{:?}, {:?}]\n", of("etc"), of("run"));
    let daemon = Daemon::start_with(&settings).await;
    daemon.import_busybox().await;
    (dir, daemon)
}

pub(crate) fn with_devices(mut config: ContainerConfig, names: &[&str]) -> ContainerConfig {
    config.cdi_devices = names.iter().map(|&name| CdiDevice { name: name.to_owned() }).collect();
    config
}

pub(crate) fn spec(devices: &Value) -> String {
    json!({ "cdiVersion": "0.7.0", "kind": "acme.com/part", "devices": devices }).to_string()
}

#[tokio::test]
async fn a_device_brings_its_node_its_variables_its_mounts_and_its_groups() {
    requires!(Root);
    let (dir, daemon) = start().await;
    fs::create_dir(dir.path().join("library")).expect("make a directory");
    fs::write(dir.path().join("library/version"), "7\n").expect("write");
    let library = dir.path().join("library").display().to_string();
    let yaml = format!(
        "cdiVersion: 0.7.0\nkind: acme.com/part\ncontainerEdits:\n  env: [ACME=yes]\n  additionalGids: [4444]\n\
         devices:\n- name: sink\n  containerEdits:\n    deviceNodes:\n    - path: /dev/acme/sink\n      hostPath: /dev/null\n\
         \x20   mounts:\n    - {{hostPath: {library}, containerPath: /opt/acme, options: [ro, bind]}}\n"
    );
    fs::write(dir.path().join("etc/acme.yaml"), yaml).expect("write");
    let script = "set -e; echo gone > /dev/acme/sink; test -c /dev/acme/sink; echo $ACME; cat /opt/acme/version; id -G; \
                  if touch /opt/acme/x 2>/dev/null; then echo written; fi";
    let (status, text) = daemon.run_to_end(&with_devices(shell("c", script), &["acme.com/part=sink"])).await;
    assert_eq!(status.exit_code, 0, "{text}");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..2], ["yes", "7"], "{text}");
    assert!(lines[2].split(' ').any(|group| group == "4444"), "{text}");
    assert_eq!(lines.len(), 3, "{text}");
}

/// A device that containers are not allowed by default: `/dev/kmsg` is there on every kernel.
#[tokio::test]
async fn the_cgroup_lets_a_container_use_its_devices_as_far_as_they_say() {
    requires!(Root);
    let (dir, daemon) = start().await;
    let node =
        |path: &str, permissions: &str| json!({ "path": path, "hostPath": "/dev/kmsg", "permissions": permissions });
    let devices = json!([
        { "name": "reader", "containerEdits": { "deviceNodes": [node("/dev/log-reader", "r")] } },
        { "name": "maker", "containerEdits": { "deviceNodes": [node("/dev/log-maker", "m")] } },
    ]);
    fs::write(dir.path().join("etc/acme.json"), spec(&devices)).expect("write");
    let opens = "if (: < /dev/log-$1) 2>/dev/null; then echo yes; else echo no; fi";
    let run = async |name: &str| {
        let mut config = container("c", &["/bin/sh", "-c", opens, "sh", name]);
        config = with_devices(config, &[&format!("acme.com/part={name}")]);
        let allowed = security(&mut config);
        allowed.capabilities =
            Some(berth::wire::Capability { add_capabilities: vec!["SYSLOG".to_owned()], ..Default::default() });
        daemon.run_to_end(&config).await.1
    };
    assert_eq!(run("reader").await, "yes\n");
    assert_eq!(run("maker").await, "no\n", "only making nodes is allowed");
}

#[tokio::test]
async fn annotations_name_devices_and_the_later_directory_wins() {
    requires!(Root);
    let (dir, daemon) = start().await;
    let device = |mark: &str| json!([{ "name": "x", "containerEdits": { "env": [format!("MARK={mark}")] } }]);
    fs::write(dir.path().join("etc/acme.json"), spec(&device("etc"))).expect("write");
    let mut config = shell("c", "echo $MARK");
    config.annotations.insert("cdi.k8s.io/acme".to_owned(), "acme.com/part=x".to_owned());
    assert_eq!(daemon.run_to_end(&config).await.1, "etc\n");
    fs::write(dir.path().join("run/acme.json"), spec(&device("run"))).expect("write");
    assert_eq!(daemon.run_to_end(&config).await.1, "run\n", "without a restart");
}

#[tokio::test]
async fn a_container_keeps_its_devices_when_their_file_is_gone() {
    requires!(Root);
    let (dir, mut daemon) = start().await;
    let node = json!({ "path": "/dev/acme", "hostPath": "/dev/null" });
    let edits = json!({ "env": ["MARK=1"], "deviceNodes": [node] });
    let path = dir.path().join("etc/acme.json");
    fs::write(&path, spec(&json!([{ "name": "x", "containerEdits": edits }]))).expect("write");
    let pod_config = pod(&daemon, "p");
    let pod = daemon.run_pod(&pod_config).await;
    let config = with_devices(container("c", &["sleep", "1000"]), &["acme.com/part=x"]);
    let id = daemon.create(&pod, &config, &pod_config).await;
    fs::remove_file(&path).expect("remove");
    daemon.kill();
    daemon.start_again().await;
    daemon.try_start(&id).await.expect("start");
    daemon.exec(&id, &["sh", "-c", "test $MARK = 1 && echo gone > /dev/acme && test -c /dev/acme"]).await;
}

#[tokio::test]
async fn a_device_that_cannot_be_given_is_named() {
    requires!(Root);
    let (dir, daemon) = start().await;
    let hooks = json!([{ "hookName": "startContainer", "path": "/bin/true" }]);
    let devices = json!([{ "name": "hooked", "containerEdits": { "hooks": hooks } }]);
    fs::write(dir.path().join("etc/acme.json"), spec(&devices)).expect("write");
    let pod_config = pod(&daemon, "p");
    let id = daemon.run_pod(&pod_config).await;
    for (name, code, wanted) in [
        ("acme.com/part=absent", Code::InvalidArgument, "no CDI device acme.com/part=absent"),
        ("nonsense", Code::InvalidArgument, "\"nonsense\""),
        ("acme.com/part=hooked", Code::Unimplemented, "needs a startContainer hook"),
    ] {
        let config = with_devices(container("c", &["true"]), &[name]);
        let status = daemon.try_create(&id, &config, &pod_config).await.expect_err("refused");
        assert!(status.code() == code && status.message().contains(wanted), "{status:?}");
    }
    fs::write(dir.path().join("etc/more.json"), spec(&devices)).expect("write");
    let config = with_devices(container("c", &["true"]), &["acme.com/part=hooked"]);
    let status = daemon.try_create(&id, &config, &pod_config).await.expect_err("refused");
    assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
    assert!(status.message().contains("acme.json") && status.message().contains("more.json"), "{status:?}");
}
