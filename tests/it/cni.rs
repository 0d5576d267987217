//! Pods on a network that CNI plugins make: Debian's own, with host-local's leases in a directory of the test.
//!
//! Plugins leave their bridge and the firewall's chains behind for the next pod, on purpose; these go with the test's
//! network namespace, after [`Plugins::forget`] has taken them out of the daemon's own accounts.

use std::{net::TcpStream, time::Duration};

use berth::wire::{
    ListPodSandboxRequest, NamespaceMode, PodSandboxConfig, PortMapping, RunPodSandboxRequest, StatusRequest,
};
use serde_json::json;

use crate::support::{Daemon, Plugins, container, eventually, pod, refusal};

async fn address(daemon: &Daemon, pod: &str) -> String {
    daemon.pod_status(pod).await.network.expect("a network").ip
}

/// What `NetworkReady` says.
async fn network_ready(daemon: &Daemon) -> (bool, String) {
    let status = daemon.runtime().status(StatusRequest::default()).await.expect("status").into_inner().status;
    let mut conditions = status.expect("a status").conditions.into_iter();
    let condition = conditions.find(|condition| condition.r#type == "NetworkReady").expect("NetworkReady");
    (condition.status, condition.message)
}

fn request(config: PodSandboxConfig) -> RunPodSandboxRequest {
    RunPodSandboxRequest { config: Some(config), ..Default::default() }
}

#[tokio::test]
async fn plugins_join_pods_and_take_them_off_after_a_kill_of_the_daemon_too() {
    requires!(Root, CniPlugins);
    let (plugins, mut daemon) = Plugins::start_with(&[]).await;
    let config = pod(&daemon, "one");
    let (one, two) = (daemon.run_pod(&config).await, daemon.run_pod(&pod(&daemon, "two")).await);
    let id = daemon.run(&one, &container("c", &["sleep", "1000"]), &config).await;
    let before = daemon.pod_status(&one).await;
    let network = before.network.clone().expect("a network");
    assert!(network.ip.starts_with("10.98.0."), "{network:?}");
    assert!(network.additional_ips[0].ip.starts_with("fd00:98::"), "{network:?}");
    assert_eq!(plugins.leases().len(), 4, "an address of each family for each pod");
    let other = address(&daemon, &two).await;
    daemon.exec(&id, &["ping", "-c", "1", "-W", "5", &other]).await;
    daemon.exec(&id, &["ping", "-c", "1", "-W", "5", "127.0.0.1"]).await;
    assert!(daemon.exec(&id, &["ip", "-o", "addr", "show", "eth0"]).await.contains(&network.ip));

    daemon.kill();
    daemon.start_again().await;
    assert_eq!(daemon.pod_status(&one).await, before);
    daemon.exec(&id, &["ping", "-c", "1", "-W", "5", &other]).await;
    let three = daemon.run_pod(&pod(&daemon, "three")).await;
    assert_eq!(plugins.leases().len(), 6);
    daemon.stop_pod(&one).await;
    assert_eq!(plugins.leases().len(), 4, "given back when the stop is answered");
    for pod in [one, two, three] {
        daemon.remove_pod(&pod).await;
    }
    assert!(plugins.leases().is_empty(), "{:?}", plugins.leases());
    assert!(!daemon.output().contains("not what it was"), "CHECK found something wrong:\n{}", daemon.output());
    let is_bridge_alone = async || daemon.leftovers().links == ["plug0"];
    eventually("the links are gone", is_bridge_alone).await;
    plugins.forget();
}

#[tokio::test]
async fn what_a_pod_had_that_died_with_the_daemon_is_given_back() {
    requires!(Root, CniPlugins);
    let (plugins, mut daemon) = Plugins::start_with(&[]).await;
    let config = pod(&daemon, "p");
    let id = daemon.run_pod(&config).await;
    let container = daemon.run(&id, &container("c", &["sleep", "1000"]), &config).await;
    let monitor = daemon.monitor_pid(&container).await;
    daemon.kill();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(monitor), nix::sys::signal::Signal::SIGKILL).expect("kill");
    assert_eq!(plugins.leases().len(), 2);
    daemon.start_again().await;
    eventually("the addresses are given back", async || plugins.leases().is_empty()).await;
    daemon.remove_pod(&id).await;
    plugins.forget();
}

#[tokio::test]
async fn a_kill_in_the_middle_of_add_leaves_no_address_taken() {
    requires!(Root, CniPlugins);
    let (plugins, mut daemon) = Plugins::start_with(&[]).await;
    // The bridge stays between the rounds, as it does on a node.
    let first = daemon.run_pod(&pod(&daemon, "first")).await;
    for delay in [5, 20, 40, 80] {
        let mut runtime = daemon.runtime();
        let config = pod(&daemon, &format!("p{delay}"));
        let running = tokio::spawn(async move { runtime.run_pod_sandbox(request(config)).await });
        tokio::time::sleep(Duration::from_millis(delay)).await;
        daemon.kill();
        let answered = running.await.expect("the task").ok().map(|answer| answer.into_inner().pod_sandbox_id);
        daemon.start_again().await;
        if let Some(pod) = answered {
            daemon.remove_pod(&pod).await;
        }
        let list =
            daemon.runtime().list_pod_sandbox(ListPodSandboxRequest::default()).await.expect("list").into_inner().items;
        for pod in list.iter().filter(|pod| pod.id != first) {
            daemon.remove_pod(&pod.id).await;
        }
        eventually("only the first pod has addresses", async || plugins.leases().len() == 2).await;
    }
    daemon.remove_pod(&first).await;
    assert!(plugins.leases().is_empty());
    plugins.forget();
}

#[tokio::test]
async fn the_network_is_ready_when_there_is_a_configuration() {
    requires!(Root, CniPlugins);
    let (plugins, daemon) = Plugins::start().await;
    let missing = "cni config not loaded: no network config found in ";
    let (ready, message) = network_ready(&daemon).await;
    assert!(!ready && message.starts_with(missing), "{message}");
    let (code, message) = refusal(daemon.runtime().run_pod_sandbox(request(pod(&daemon, "p"))).await);
    assert!(code == tonic::Code::Unavailable && message.contains(missing), "{code:?}: {message}");

    let mut on_host = pod(&daemon, "host");
    let linux = on_host.linux.as_mut().expect("linux").security_context.as_mut().expect("a security context");
    linux.namespace_options.as_mut().expect("namespaces").network = NamespaceMode::Node.into();
    let on_host = daemon.run_pod(&on_host).await;

    plugins.configure(&[]);
    assert_eq!(network_ready(&daemon).await, (true, String::new()));
    let id = daemon.run_pod(&pod(&daemon, "p")).await;
    assert_eq!(plugins.leases().len(), 2, "the pod on the host's network has none");
    for pod in [on_host, id] {
        daemon.remove_pod(&pod).await;
    }
    assert!(plugins.leases().is_empty());
    plugins.forget();
}

#[tokio::test]
async fn a_plugin_that_fails_keeps_the_pod_from_running_and_no_address() {
    requires!(Root, CniPlugins);
    let broken = json!({ "type": "tuning", "sysctl": { "net.core.no_such_parameter": "1" } });
    let (plugins, daemon) = Plugins::start_with(&[broken]).await;
    let (_, message) = refusal(daemon.runtime().run_pod_sandbox(request(pod(&daemon, "p"))).await);
    assert!(message.contains("cni plugin tuning failed to ADD") && message.contains("no_such_parameter"), "{message}");
    assert!(plugins.leases().is_empty(), "{:?}", plugins.leases());
    assert!(daemon.leftovers().mounts.is_empty());
    eventually("only the bridge is left", async || daemon.leftovers().links == ["plug0"]).await;
    plugins.forget();
}

#[tokio::test]
async fn portmap_opens_host_ports() {
    requires!(Root, CniPlugins, Iptables);
    let portmap = json!({ "type": "portmap", "capabilities": { "portMappings": true } });
    let (plugins, daemon) = Plugins::start_with(&[portmap]).await;
    let mut config = pod(&daemon, "p");
    config.port_mappings = vec![PortMapping { host_port: 12_080, container_port: 8080, ..Default::default() }];
    let id = daemon.run_pod(&config).await;
    daemon.run(&id, &container("web", &["httpd", "-f", "-p", "8080"]), &config).await;
    let gateway = "10.98.0.1:12080".parse().expect("an address");
    let answers = async || TcpStream::connect_timeout(&gateway, Duration::from_secs(3)).is_ok();
    eventually("the port is open", answers).await;
    daemon.remove_pod(&id).await;
    assert!(TcpStream::connect_timeout(&gateway, Duration::from_secs(3)).is_err(), "open after the pod is gone");
    plugins.forget();
}
