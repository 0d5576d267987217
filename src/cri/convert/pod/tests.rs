use super::*;
use crate::types::{Id, Timestamp};

fn metadata() -> wire::PodSandboxMetadata {
    wire::PodSandboxMetadata { name: "p".to_owned(), uid: "u".to_owned(), namespace: "n".to_owned(), attempt: 3 }
}

fn config() -> wire::PodSandboxConfig {
    wire::PodSandboxConfig { metadata: Some(metadata()), ..Default::default() }
}

fn read(config: wire::PodSandboxConfig) -> Result<PodConfig, String> {
    let request = wire::RunPodSandboxRequest { config: Some(config), runtime_handler: String::new() };
    from_wire(request).map_err(|error| error.to_string())
}

#[test]
fn a_pod_keeps_all_that_it_was_asked_for_with() {
    let labels = [("io.kubernetes.pod.uid".to_owned(), " ü\n".to_owned())];
    let port = wire::PortMapping { protocol: 1, container_port: 53, host_port: 5353, host_ip: "::1".to_owned() };
    let dns = wire::DnsConfig { servers: vec!["10.0.0.1".to_owned()], ..Default::default() };
    let wanted = wire::PodSandboxConfig {
        hostname: "h".to_owned(),
        log_directory: "/var/log/pods/p".to_owned(),
        labels: labels.into(),
        port_mappings: vec![port],
        dns_config: Some(dns),
        linux: Some(wire::LinuxPodSandboxConfig { cgroup_parent: "/kubepods/pod1".to_owned(), ..Default::default() }),
        ..config()
    };
    let pod = read(wanted.clone()).expect("fine");
    assert_eq!(pod.labels, wanted.labels);
    assert_eq!(pod.cgroup_parent, "/kubepods/pod1");
    assert_eq!(pod.dns.map(|dns| dns.servers), Some(vec!["10.0.0.1".to_owned()]));
    let host_ip = Some("::1".parse().expect("an address"));
    assert_eq!(pod.ports, [PortMapping { protocol: Protocol::Udp, container_port: 53, host_port: 5353, host_ip }]);
}

#[test]
fn malformed_pods_are_refused_in_a_sentence() {
    let no_name = wire::PodSandboxMetadata { name: String::new(), ..metadata() };
    let long_uid = wire::PodSandboxMetadata { uid: "u".repeat(70_000), ..metadata() };
    let port = wire::PortMapping { container_port: 80, ..Default::default() };
    let ports = |port| wire::PodSandboxConfig { port_mappings: vec![port], ..config() };
    let linux = |linux| wire::PodSandboxConfig { linux: Some(linux), ..config() };
    let dns = |server: &str| wire::DnsConfig { servers: vec![server.to_owned()], ..Default::default() };
    let cases = [
        (wire::PodSandboxConfig::default(), "config.metadata is missing"),
        (wire::PodSandboxConfig { metadata: Some(no_name), ..config() }, "config.metadata.name is empty"),
        (
            wire::PodSandboxConfig { metadata: Some(long_uid), ..config() },
            "config.metadata.uid is 70000 bytes long; at most 1024 are taken",
        ),
        (
            wire::PodSandboxConfig { log_directory: "logs".to_owned(), ..config() },
            r#"config.log_directory must be an absolute path, not "logs""#,
        ),
        (
            ports(wire::PortMapping { container_port: 0, ..port.clone() }),
            "config.port_mappings[0].container_port must be between 1 and 65535, not 0",
        ),
        (
            ports(wire::PortMapping { host_port: 65536, ..port.clone() }),
            "config.port_mappings[0].host_port must be between 0 and 65535, not 65536",
        ),
        (
            ports(wire::PortMapping { protocol: 7, ..port.clone() }),
            "config.port_mappings[0].protocol has the unknown value 7",
        ),
        (
            ports(wire::PortMapping { host_ip: "localhost".to_owned(), ..port }),
            r#"config.port_mappings[0].host_ip is no IP address: "localhost""#,
        ),
        (
            wire::PodSandboxConfig { dns_config: Some(dns("1.1.1.1\nsearch evil")), ..config() },
            r#"config.dns_config.servers[0] contains white space: "1.1.1.1\nsearch evil""#,
        ),
        (
            wire::PodSandboxConfig { dns_config: Some(dns("ns.example")), ..config() },
            r#"config.dns_config.servers[0] is no IP address: "ns.example""#,
        ),
        (
            linux(wire::LinuxPodSandboxConfig { cgroup_parent: "/a/../..".to_owned(), ..Default::default() }),
            "config.linux.cgroup_parent must not contain \"..\"",
        ),
    ];
    for (config, sentence) in cases {
        assert_eq!(read(config), Err(format!("invalid request: {sentence}")));
    }
    assert_eq!(
        from_wire(wire::RunPodSandboxRequest::default()).map_err(|e| e.to_string()),
        Err("invalid request: config is missing".to_owned())
    );
}

#[test]
fn a_status_has_all_that_kubelet_demands() {
    let pod = PodView {
        id: Id::from_bytes([7; 32]),
        config: read(config()).expect("fine").into(),
        state: PodState::NotReady,
        created_at: Timestamp(42),
        ips: vec!["10.88.0.2".parse().expect("an address"), "fd00::2".parse().expect("an address")],
        monitor_pid: None,
        netns: None,
        cgroup: "/x".to_owned(),
    };
    let status = status_to_wire(&pod);
    assert_eq!((status.metadata, status.created_at, status.state), (Some(metadata()), 42, 1));
    let network = status.network.expect("told");
    assert_eq!((network.ip.as_str(), network.additional_ips[0].ip.as_str()), ("10.88.0.2", "fd00::2"));
    let on_host = PodView { ips: Vec::new(), ..pod };
    assert_eq!(status_to_wire(&on_host).network.map(|network| network.ip), Some(String::new()));
    let details = details(&on_host, serde_json::json!({ "hostname": "h" }));
    assert_eq!(
        (&details["config"]["metadata"]["name"], &details["runtimeSpec"]["hostname"]),
        (&"p".into(), &"h".into())
    );
}

#[test]
fn filters_are_read() {
    let state = Some(wire::PodSandboxStateValue { state: 1 });
    let filter = filter_from_wire(Some(wire::PodSandboxFilter { id: "ab".to_owned(), state, ..Default::default() }));
    let filter = filter.expect("fine");
    assert_eq!((filter.id.as_deref(), filter.state), (Some("ab"), Some(PodState::NotReady)));
    let all = filter_from_wire(None).expect("fine");
    assert!(all.id.is_none() && all.state.is_none() && all.labels.is_empty());
    let state = Some(wire::PodSandboxStateValue { state: 9 });
    filter_from_wire(Some(wire::PodSandboxFilter { state, ..Default::default() })).expect_err("no such state");
}
