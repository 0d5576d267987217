//! Pods in a user namespace of their own.

use std::{fs, os::unix::fs::MetadataExt};

use berth::wire::{
    ContainerConfig, IdMapping, LinuxSandboxSecurityContext, Mount, NamespaceMode, NamespaceOption, PodSandboxConfig,
    StatusRequest, UserNamespace,
};
use serde_json::Value;
use tonic::{Code, Response};

use crate::support::{Daemon, pod, refusal, security, shell};

/// Where the pod's ids begin on the host, and how many they are.
const FIRST: u32 = 200_000;
const LENGTH: u32 = 65_536;

fn map() -> Vec<IdMapping> {
    vec![IdMapping { host_id: FIRST, container_id: 0, length: LENGTH }]
}

fn own() -> UserNamespace {
    UserNamespace { mode: NamespaceMode::Pod.into(), uids: map(), gids: map() }
}

fn options(config: &mut PodSandboxConfig) -> &mut NamespaceOption {
    let context: &mut LinuxSandboxSecurityContext =
        config.linux.get_or_insert_default().security_context.get_or_insert_default();
    context.namespace_options.get_or_insert_default()
}

/// A pod whose user namespace is that, and a container for it that runs a script.
fn mapped(daemon: &Daemon, user: &UserNamespace, script: &str) -> (PodSandboxConfig, ContainerConfig) {
    let (mut pod, mut inside) = (pod(daemon, "mapped"), shell("c", script));
    options(&mut pod).userns_options = Some(user.clone());
    security(&mut inside).namespace_options.get_or_insert_default().userns_options = Some(user.clone());
    (pod, inside)
}

#[tokio::test]
async fn root_in_the_pod_is_somebody_else_on_the_host() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let volume = daemon.path("volume");
    fs::create_dir(&volume).expect("make a volume");
    fs::write(volume.join("given"), "word").expect("fill it");
    let (config, mut inside) = mapped(&daemon, &own(), "echo made > /volume/made; exec sleep 1000");
    inside.mounts.push(Mount {
        container_path: "/volume".into(),
        host_path: volume.display().to_string(),
        uid_mappings: map(),
        gid_mappings: map(),
        ..Default::default()
    });
    let pod = daemon.run_pod(&config).await;
    let id = daemon.run(&pod, &inside, &config).await;

    assert_eq!(daemon.exec(&id, &["id", "-u"]).await, "0");
    let process = fs::metadata(format!("/proc/{}", daemon.container_pid(&id).await)).expect("the process");
    assert_eq!((process.uid(), process.gid()), (FIRST, FIRST));
    let table = daemon.exec(&id, &["cat", "/proc/self/uid_map"]).await;
    assert_eq!(table.split_whitespace().collect::<Vec<_>>(), ["0", "200000", "65536"]);
    // Files are their owners' on both sides, in volumes as in the image.
    assert_eq!(daemon.exec(&id, &["stat", "-c", "%u", "/volume/given", "/bin/sh", "/"]).await, "0\n0\n0");
    assert_eq!(fs::metadata(volume.join("made")).expect("what the container made").uid(), 0);

    let status = daemon.pod_status(&pod).await.linux.and_then(|linux| linux.namespaces);
    let told = status.and_then(|namespaces| namespaces.options).and_then(|options| options.userns_options);
    assert_eq!(told, Some(own()));
    let user = daemon.status(&id).await.user.and_then(|user| user.linux).expect("the user");
    assert_eq!((user.uid, user.gid), (0, 0), "as the container has it");
}

#[tokio::test]
async fn a_user_namespace_of_the_pod_goes_with_the_hosts_network_and_is_announced() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let (mut config, mut inside) = mapped(&daemon, &own(), "exec sleep 1000");
    config.hostname = String::new();
    options(&mut config).network = NamespaceMode::Node.into();
    security(&mut inside).namespace_options.get_or_insert_default().network = NamespaceMode::Node.into();
    let pod = daemon.run_pod(&config).await;
    let id = daemon.run(&pod, &inside, &config).await;
    let host = fs::read_link("/proc/thread-self/ns/net").expect("our network namespace");
    assert_eq!(daemon.exec(&id, &["readlink", "/proc/self/ns/net"]).await, host.display().to_string());
    let table = daemon.exec(&id, &["cat", "/proc/self/uid_map"]).await;
    assert_eq!(table.split_whitespace().nth(1), Some("200000"));
    assert!(!daemon.exec(&id, &["ls", "/sys/class/net"]).await.is_empty(), "sysfs is there");

    let status = daemon.runtime().status(StatusRequest { verbose: true }).await.expect("status").into_inner();
    let features = status.features.expect("features");
    assert!(features.user_namespaces_host_network && features.supplemental_groups_policy, "{features:?}");
    let handlers = status.runtime_handlers.iter().filter_map(|handler| handler.features);
    assert!(handlers.clone().count() > 0 && handlers.clone().all(|handler| handler.user_namespaces));
    // The conformance suite looks there for the root file systems of such pods.
    let settings: Value = serde_json::from_str(&status.info["config"]).expect("settings");
    assert_eq!(settings["stateDir"], daemon.path("run").display().to_string());
}

#[tokio::test]
async fn user_namespaces_that_cannot_be_are_refused() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let mode = |mode: NamespaceMode| UserNamespace { mode: mode.into(), ..own() };
    let lines = |uids: Vec<IdMapping>| UserNamespace { uids, ..own() };
    let line = |container_id, length| IdMapping { host_id: FIRST, container_id, length };
    for (user, what) in [
        (mode(NamespaceMode::Container), "a container's"),
        (mode(NamespaceMode::Target), "a target's"),
        (mode(NamespaceMode::Node), "the node's with maps"),
        (lines(Vec::new()), "no map"),
        (lines(vec![line(0, 0)]), "an empty line"),
        (lines(vec![line(1, 10)]), "no root"),
    ] {
        let (config, _) = mapped(&daemon, &user, "true");
        let request = berth::wire::RunPodSandboxRequest { config: Some(config), runtime_handler: String::new() };
        let (code, message) =
            refusal(daemon.runtime().run_pod_sandbox(request).await.map(|answer| Response::new(answer.into_inner())));
        assert_eq!(code, Code::InvalidArgument, "{what}: {message}");
    }
}
