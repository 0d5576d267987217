//! Pods from Run to Remove.

use std::collections::BTreeMap;

use berth::wire::{
    DnsConfig, ListPodSandboxRequest, NamespaceMode, PodSandboxConfig, PodSandboxFilter, PodSandboxState,
    PodSandboxStateValue, PodSandboxStatusRequest, PortMapping, RemovePodSandboxRequest, RunPodSandboxRequest,
    StopPodSandboxRequest,
};
use tonic::Code;

use crate::support::{Daemon, container, pod, refusal, security, shell};

async fn list(daemon: &Daemon, filter: PodSandboxFilter) -> Vec<String> {
    let request = ListPodSandboxRequest { filter: Some(filter) };
    let items = daemon.runtime().list_pod_sandbox(request).await.expect("list pods").into_inner().items;
    items.into_iter().map(|item| item.id).collect()
}

/// Sets the namespaces of a pod and of containers that shall go into it.
fn with_namespace(config: &mut PodSandboxConfig, set: impl Fn(&mut berth::wire::NamespaceOption)) {
    let linux = config.linux.get_or_insert_default();
    set(linux.security_context.get_or_insert_default().namespace_options.get_or_insert_default());
}

#[tokio::test]
async fn a_pod_becomes_ready_stops_and_goes() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let mut config = pod(&daemon, "web");
    config.labels.insert("app".into(), "web".into());
    config.annotations.insert("io.kubernetes.x/y".into(), "  byte-exact é\n".into());
    let id = daemon.run_pod(&config).await;
    assert_eq!(id.len(), 64);

    let status = daemon.pod_status(&id).await;
    assert_eq!(status.state(), PodSandboxState::SandboxReady);
    assert_eq!(status.metadata, config.metadata);
    assert_eq!(status.labels, config.labels);
    assert_eq!(status.annotations, config.annotations);
    assert!(status.created_at > 0);
    let network = status.network.expect("a network");
    network.ip.parse::<std::net::IpAddr>().expect("an address");
    assert!(std::path::Path::new(&config.log_directory).is_dir(), "no log directory");

    daemon.stop_pod(&id).await;
    assert_eq!(daemon.pod_status(&id).await.state(), PodSandboxState::SandboxNotready);
    daemon.stop_pod(&id).await;
    daemon.remove_pod(&id).await;
    daemon.remove_pod(&id).await;
    let request = PodSandboxStatusRequest { pod_sandbox_id: id, verbose: false };
    assert_eq!(refusal(daemon.runtime().pod_sandbox_status(request).await).0, Code::NotFound);
    assert!(list(&daemon, PodSandboxFilter::default()).await.is_empty());
}

#[tokio::test]
async fn pods_that_never_were_can_be_stopped_and_removed() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.remove_pod(&"0".repeat(64)).await;
    daemon.remove_pod("no-such-pod").await;
}

#[tokio::test]
async fn lists_are_filtered_by_id_state_and_labels() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let labelled = |name: &str, tier: &str| {
        let mut config = pod(&daemon, name);
        config.labels = BTreeMap::from([("app".to_owned(), name.to_owned()), ("tier".to_owned(), tier.to_owned())]);
        config
    };
    let front = daemon.run_pod(&labelled("front", "1")).await;
    let back = daemon.run_pod(&labelled("back", "1")).await;
    daemon.stop_pod(&back).await;

    let by_state = |state: PodSandboxState| PodSandboxFilter {
        state: Some(PodSandboxStateValue { state: state.into() }),
        ..Default::default()
    };
    let by_id = |id: &str| PodSandboxFilter { id: id.to_owned(), ..Default::default() };
    let by_label = |pairs: &[(&str, &str)]| PodSandboxFilter {
        label_selector: pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect(),
        ..Default::default()
    };
    assert_eq!(list(&daemon, PodSandboxFilter::default()).await.len(), 2);
    assert_eq!(list(&daemon, by_state(PodSandboxState::SandboxReady)).await, [front.as_str()]);
    assert_eq!(list(&daemon, by_state(PodSandboxState::SandboxNotready)).await, [back.as_str()]);
    assert_eq!(list(&daemon, by_id(&front)).await, [front.as_str()]);
    assert_eq!(list(&daemon, by_id(&front[..12])).await, [front.as_str()]);
    assert!(list(&daemon, by_id("zzz")).await.is_empty());
    assert_eq!(list(&daemon, by_label(&[("tier", "1")])).await.len(), 2);
    assert_eq!(list(&daemon, by_label(&[("tier", "1"), ("app", "back")])).await, [back.as_str()]);
    assert!(list(&daemon, by_label(&[("tier", "2")])).await.is_empty());
}

#[tokio::test]
async fn one_name_makes_one_pod_however_often_it_is_asked_for() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let config = pod(&daemon, "web");
    let run = || {
        let mut runtime = daemon.runtime();
        let request = RunPodSandboxRequest { config: Some(config.clone()), ..Default::default() };
        async move { runtime.run_pod_sandbox(request).await }
    };
    let answers = tokio::join!(run(), run(), run());
    let mut ids = Vec::new();
    for answer in [answers.0, answers.1, answers.2] {
        match answer {
            Ok(answer) => ids.push(answer.into_inner().pod_sandbox_id),
            Err(status) => assert_eq!(status.code(), Code::AlreadyExists, "{status:?}"),
        }
    }
    ids.dedup();
    assert_eq!(ids.len(), 1, "{ids:?}");
    assert_eq!(list(&daemon, PodSandboxFilter::default()).await, ids);

    // The next attempt is another pod.
    let mut next = config.clone();
    next.metadata.as_mut().expect("metadata").attempt = 1;
    assert_ne!(daemon.run_pod(&next).await, ids[0]);
}

#[tokio::test]
async fn a_pod_has_its_own_host_name_and_resolver() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let mut config = pod(&daemon, "named");
    config.dns_config = Some(DnsConfig {
        servers: vec!["10.96.0.10".into(), "fd00::10".into()],
        searches: vec!["default.svc.cluster.local".into(), "cluster.local".into()],
        options: vec!["ndots:5".into()],
    });
    let pod = daemon.run_pod(&config).await;
    let id = daemon.run(&pod, &container("c", &["sleep", "1000"]), &config).await;
    assert_eq!(daemon.exec(&id, &["hostname"]).await, "named");
    assert_eq!(daemon.exec(&id, &["cat", "/etc/hostname"]).await, "named");
    assert_eq!(
        daemon.exec(&id, &["cat", "/etc/resolv.conf"]).await,
        "search default.svc.cluster.local cluster.local\nnameserver 10.96.0.10\nnameserver fd00::10\noptions ndots:5"
            .lines()
            .collect::<Vec<_>>()
            .join("\n")
    );
}

#[tokio::test]
async fn a_pod_without_dns_settings_resolves_as_its_host_does() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let (status, text) = daemon.run_to_end(&container("c", &["cat", "/etc/resolv.conf"])).await;
    assert_eq!(status.exit_code, 0);
    let host = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    assert_eq!(text.trim(), host.trim());
}

#[tokio::test]
async fn kernel_parameters_of_the_pods_namespaces_are_set() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let mut config = pod(&daemon, "tuned");
    let sysctls = [
        ("kernel.shm_rmid_forced", "1"),
        ("fs.mqueue.msg_max", "42"),
        ("net/ipv4/ip_local_port_range", "40000\t50000"),
    ];
    config.linux.get_or_insert_default().sysctls =
        sysctls.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
    let pod = daemon.run_pod(&config).await;
    let id = daemon.run(&pod, &container("c", &["sleep", "1000"]), &config).await;
    for (key, value) in sysctls {
        let path = format!("/proc/sys/{}", key.replace('.', "/"));
        assert_eq!(daemon.exec(&id, &["cat", &path]).await, value, "{key}");
    }
}

#[tokio::test]
async fn kernel_parameters_of_the_host_are_out_of_reach() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let node = i32::from(NamespaceMode::Node);
    for (key, network, ipc) in [
        ("kernel.panic", 0, 0),
        ("vm.swappiness", 0, 0),
        ("net.ipv4.ip_forward", node, 0),
        ("kernel.shm_rmid_forced", 0, node),
        ("fs/mqueue/msg_max", 0, node),
    ] {
        let mut config = pod(&daemon, "tuned");
        config.linux.get_or_insert_default().sysctls = BTreeMap::from([(key.to_owned(), "1".to_owned())]);
        with_namespace(&mut config, |namespaces| (namespaces.network, namespaces.ipc) = (network, ipc));
        let request = RunPodSandboxRequest { config: Some(config), ..Default::default() };
        let (code, message) = refusal(daemon.runtime().run_pod_sandbox(request).await);
        assert_eq!(code, Code::InvalidArgument, "{message}");
        assert!(message.contains(key), "{message}");
    }
}

#[tokio::test]
async fn the_hosts_network_has_the_hosts_links_and_no_address_of_its_own() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let mut config = pod(&daemon, "host");
    config.hostname = String::new();
    // kubelet sends the ports of such pods, too.
    config.port_mappings = vec![PortMapping { container_port: 80, host_port: 80, ..Default::default() }];
    with_namespace(&mut config, |namespaces| namespaces.network = NamespaceMode::Node.into());
    let pod = daemon.run_pod(&config).await;
    let status = daemon.pod_status(&pod).await;
    assert_eq!(status.network.unwrap_or_default().ip, "");
    let options = status.linux.and_then(|linux| linux.namespaces).and_then(|namespaces| namespaces.options);
    assert_eq!(options.expect("options").network(), NamespaceMode::Node);

    let mut inside = container("c", &["sleep", "1000"]);
    security(&mut inside).namespace_options.get_or_insert_default().network = NamespaceMode::Node.into();
    let id = daemon.run(&pod, &inside, &config).await;
    let host = std::fs::read_link("/proc/thread-self/ns/net").expect("our network namespace");
    assert_eq!(daemon.exec(&id, &["readlink", "/proc/self/ns/net"]).await, host.display().to_string());
    for (file, of_host) in [("/etc/hostname", "/proc/sys/kernel/hostname"), ("/etc/hosts", "/etc/hosts")] {
        let expected = std::fs::read_to_string(of_host).expect("the host's file");
        assert_eq!(daemon.exec(&id, &["cat", file]).await, expected.trim(), "{file}");
    }
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("the host's name");
    assert_eq!(daemon.exec(&id, &["hostname"]).await, name.trim());
}

#[tokio::test]
async fn the_hosts_ipc_is_shared_when_that_is_asked_for() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let mut config = pod(&daemon, "host-ipc");
    with_namespace(&mut config, |namespaces| namespaces.ipc = NamespaceMode::Node.into());
    let pod = daemon.run_pod(&config).await;
    let mut inside = container("c", &["sleep", "1000"]);
    security(&mut inside).namespace_options.get_or_insert_default().ipc = NamespaceMode::Node.into();
    let id = daemon.run(&pod, &inside, &config).await;
    let host = std::fs::read_link("/proc/self/ns/ipc").expect("our IPC namespace");
    assert_eq!(daemon.exec(&id, &["readlink", "/proc/self/ns/ipc"]).await, host.display().to_string());
    let of_host = std::os::unix::fs::MetadataExt::dev(&std::fs::metadata("/dev/shm").expect("the host's"));
    assert_eq!(daemon.exec(&id, &["stat", "-c", "%d", "/dev/shm"]).await, of_host.to_string());
}

#[tokio::test]
async fn containers_of_a_pod_share_network_ipc_and_host_name_but_not_pids() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let config = pod(&daemon, "pair");
    let pod = daemon.run_pod(&config).await;
    let one = daemon.run(&pod, &container("one", &["sleep", "1000"]), &config).await;
    let two = daemon.run(&pod, &container("two", &["sleep", "1000"]), &config).await;
    let namespace = async |id: &str, kind: &str| daemon.exec(id, &["readlink", &format!("/proc/1/ns/{kind}")]).await;
    for (kind, is_shared) in [("net", true), ("ipc", true), ("uts", true), ("pid", false), ("mnt", false)] {
        assert_eq!(namespace(&one, kind).await == namespace(&two, kind).await, is_shared, "{kind}");
        let host = std::fs::read_link(format!("/proc/thread-self/ns/{kind}")).expect("our namespace");
        assert_ne!(namespace(&one, kind).await, host.display().to_string(), "{kind} is the host's");
    }
    daemon.exec(&one, &["sh", "-c", "echo hello > /dev/shm/word"]).await;
    assert_eq!(daemon.exec(&two, &["cat", "/dev/shm/word"]).await, "hello");
}

#[tokio::test]
async fn with_shared_pids_containers_see_each_other_and_are_not_pid_1() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let mut config = pod(&daemon, "shared");
    with_namespace(&mut config, |namespaces| namespaces.pid = NamespaceMode::Pod.into());
    let pod = daemon.run_pod(&config).await;
    let shared = |name, script| {
        let mut config = shell(name, script);
        security(&mut config).namespace_options.get_or_insert_default().pid = NamespaceMode::Pod.into();
        config
    };
    let one = daemon.run(&pod, &shared("one", "exec sleep 1234"), &config).await;
    let two = daemon.run(&pod, &shared("two", "exec sleep 4321"), &config).await;
    let processes = daemon.exec(&two, &["ps", "-o", "pid,args"]).await;
    assert!(processes.contains("sleep 1234") && processes.contains("sleep 4321"), "{processes}");
    assert!(!processes.lines().any(|line| line.trim().starts_with("1 sleep")), "{processes}");
    // A container's end does not take the others along.
    daemon.stop(&one, 0).await;
    daemon.wait_for_end(&one).await;
    assert!(daemon.exec(&two, &["ps", "-o", "args"]).await.contains("sleep 4321"));
}

#[tokio::test]
async fn a_container_with_a_target_sees_the_targets_processes() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let (config, other) = (pod(&daemon, "debugged"), pod(&daemon, "other"));
    let (pod, other_pod) = (daemon.run_pod(&config).await, daemon.run_pod(&other).await);
    let target = daemon.run(&pod, &container("target", &["sleep", "1234"]), &config).await;
    let debugger = |name: &str, id: &str| {
        let mut config = container(name, &["sleep", "4321"]);
        let options = security(&mut config).namespace_options.get_or_insert_default();
        (options.pid, options.target_id) = (NamespaceMode::Target.into(), id.to_owned());
        config
    };
    let id = daemon.run(&pod, &debugger("debugger", &target), &config).await;
    let processes = daemon.exec(&id, &["ps", "-o", "pid,args"]).await;
    assert!(processes.lines().any(|line| line.trim() == "1 sleep 1234"), "{processes}");
    daemon.stop(&id, 0).await;
    assert_eq!(daemon.exec(&target, &["echo", "goes on"]).await, "goes on");

    let refused = daemon.try_create(&other_pod, &debugger("stranger", &target), &other).await.expect_err("another pod");
    assert!(refused.code() == Code::InvalidArgument && refused.message().contains("another pod"), "{refused:?}");
    let late = daemon.create(&pod, &debugger("late", &target), &config).await;
    daemon.stop(&target, 0).await;
    let refused = daemon.try_start(&late).await.expect_err("its target has ended");
    assert!(refused.code() == Code::InvalidArgument && refused.message().contains("not running"), "{refused:?}");
}

#[tokio::test]
async fn with_the_hosts_pids_a_container_sees_the_hosts_processes() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let mut config = pod(&daemon, "host-pids");
    with_namespace(&mut config, |namespaces| namespaces.pid = NamespaceMode::Node.into());
    let pod = daemon.run_pod(&config).await;
    let mut inside = container("c", &["sleep", "1000"]);
    security(&mut inside).namespace_options.get_or_insert_default().pid = NamespaceMode::Node.into();
    let id = daemon.run(&pod, &inside, &config).await;
    let host = std::fs::read_link("/proc/self/ns/pid").expect("our PID namespace");
    assert_eq!(daemon.exec(&id, &["readlink", "/proc/self/ns/pid"]).await, host.display().to_string());
}

#[tokio::test]
async fn stopping_a_pod_ends_its_containers_and_removing_it_takes_them_along() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let config = pod(&daemon, "full");
    let pod = daemon.run_pod(&config).await;
    let running = daemon.run(&pod, &container("running", &["sleep", "1000"]), &config).await;
    let created = daemon.create(&pod, &container("created", &["sleep", "1000"]), &config).await;
    daemon.stop_pod(&pod).await;
    assert_eq!(daemon.status(&running).await.exit_code, 137);
    let request = StopPodSandboxRequest { pod_sandbox_id: pod.clone() };
    daemon.runtime().stop_pod_sandbox(request).await.expect("stop it again");
    let request = RemovePodSandboxRequest { pod_sandbox_id: pod.clone() };
    daemon.runtime().remove_pod_sandbox(request).await.expect("remove the pod");
    for id in [running, created] {
        let request = berth::wire::ContainerStatusRequest { container_id: id, verbose: false };
        assert_eq!(refusal(daemon.runtime().container_status(request).await).0, Code::NotFound);
    }
}

#[tokio::test]
async fn a_ready_pod_can_be_removed_at_once() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let config = pod(&daemon, "forced");
    let pod = daemon.run_pod(&config).await;
    daemon.run(&pod, &container("c", &["sleep", "1000"]), &config).await;
    let request = RemovePodSandboxRequest { pod_sandbox_id: pod };
    daemon.runtime().remove_pod_sandbox(request).await.expect("remove the pod");
    assert!(list(&daemon, PodSandboxFilter::default()).await.is_empty());
}
