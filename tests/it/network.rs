//! The pods' network, seen from the host, from the pods, and from outside.
//!
//! Servers are sockets of this process that were opened in a pod's network namespace: a socket stays where it was made.

use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::PathBuf,
    process::Command,
    time::Duration,
};

use berth::wire::{PortMapping, Protocol};
use nix::sched::{CloneFlags, unshare};

use crate::support::{Daemon, container, eventually, in_network, pod};

/// A pod with one sleeping container.
struct Node {
    pod: String,
    addresses: Vec<IpAddr>,
    network: PathBuf,
}

impl Node {
    async fn run(daemon: &Daemon, name: &str, ports: Vec<PortMapping>) -> Self {
        let mut config = pod(daemon, name);
        config.port_mappings = ports;
        let pod = daemon.run_pod(&config).await;
        let id = daemon.run(&pod, &container("c", &["sleep", "1000"]), &config).await;
        let network = daemon.pod_status(&pod).await.network.expect("a network");
        let others = network.additional_ips.iter().map(|other| &other.ip);
        let addresses = std::iter::once(&network.ip).chain(others).map(|ip| ip.parse().expect("an address")).collect();
        let network = format!("/proc/{}/ns/net", daemon.container_pid(&id).await).into();
        Self { pod, addresses, network }
    }

    fn ipv4(&self) -> IpAddr {
        *self.addresses.iter().find(|address| address.is_ipv4()).expect("an IPv4 address")
    }

    fn ipv6(&self) -> IpAddr {
        *self.addresses.iter().find(|address| address.is_ipv6()).expect("an IPv6 address")
    }

    /// Does something in the pod's network namespace.
    fn inside<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        in_network(&self.network, act)
    }

    fn listen(&self, port: u16) -> TcpListener {
        self.inside(|| TcpListener::bind(SocketAddr::new(any_of_both(), port)).expect("listen"))
    }
}

/// `::`, on which IPv4 connections arrive, too.
fn any_of_both() -> IpAddr {
    "::".parse().expect("an address")
}

fn port(protocol: Protocol, host_ip: &str, host_port: i32, container_port: i32) -> PortMapping {
    PortMapping { protocol: protocol.into(), host_ip: host_ip.to_owned(), host_port, container_port }
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    TcpStream::connect_timeout(&address, Duration::from_secs(3))
}

/// A word goes through the connection; returns the peer that the server saw.
fn converse(server: &TcpListener, client: io::Result<TcpStream>) -> SocketAddr {
    let mut client = client.expect("connect");
    let (mut served, peer) = server.accept().expect("accept");
    client.write_all(b"word").expect("write");
    let mut word = [0; 4];
    served.read_exact(&mut word).expect("read");
    assert_eq!(&word, b"word");
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}

/// Runs a program in this thread's network.
fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().expect("run a program");
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn host_and_pods_reach_each_other_over_ipv4_and_ipv6() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let (one, two) = (Node::run(&daemon, "one", vec![]).await, Node::run(&daemon, "two", vec![]).await);
    let server = one.listen(8080);
    for address in [one.ipv4(), one.ipv6()] {
        let address = SocketAddr::new(address, 8080);
        converse(&server, connect(address));
        let peer = converse(&server, two.inside(|| connect(address)));
        assert!(two.addresses.contains(&peer.ip()), "{peer} is not the other pod");
        converse(&server, one.inside(|| connect(address)));
    }
    let own = one.inside(|| connect(SocketAddr::from((Ipv4Addr::LOCALHOST, 8080))));
    converse(&server, own);
}

#[tokio::test]
async fn every_pod_has_addresses_of_its_own() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let mut seen = std::collections::HashSet::new();
    for number in 0..10 {
        let id = daemon.run_pod(&pod(&daemon, &format!("p{number}"))).await;
        let network = daemon.pod_status(&id).await.network.expect("a network");
        assert!(seen.insert(network.ip.clone()), "{} was given twice", network.ip);
        for other in network.additional_ips {
            assert!(seen.insert(other.ip.clone()), "{} was given twice", other.ip);
        }
    }
}

#[tokio::test]
async fn addresses_are_used_again_after_pods_are_gone() {
    requires!(Root);
    // A subnet of 8 addresses: the fourth round needs some that were given back.
    let daemon = Daemon::start_with("[network]\nsubnets = [\"10.99.7.0/29\"]\n").await;
    for _ in 0..4 {
        let mut pods = Vec::new();
        for number in 0..4 {
            pods.push(daemon.run_pod(&pod(&daemon, &format!("p{number}"))).await);
        }
        for pod in pods {
            daemon.remove_pod(&pod).await;
        }
    }
}

#[tokio::test]
async fn an_address_that_is_being_given_back_is_waited_for() {
    requires!(Root);
    let daemon = Daemon::start_with("[network]\nsubnets = [\"10.99.9.0/29\"]\n").await;
    let mut pods = std::collections::VecDeque::new();
    let run = async |number: usize| {
        let config = Some(pod(&daemon, &format!("p{number}")));
        daemon.runtime().run_pod_sandbox(berth::wire::RunPodSandboxRequest { config, ..Default::default() }).await
    };
    while let Ok(answer) = run(pods.len()).await {
        pods.push_back(answer.into_inner().pod_sandbox_id);
    }
    for number in 100..105 {
        daemon.remove_pod(&pods.pop_front().expect("a pod")).await;
        let next = run(number).await.expect("the address of the removed pod");
        pods.push_back(next.into_inner().pod_sandbox_id);
    }
}

#[tokio::test]
async fn a_subnet_that_is_full_says_so() {
    requires!(Root);
    let daemon = Daemon::start_with("[network]\nsubnets = [\"10.99.8.0/30\"]\n").await;
    for number in 0..8 {
        let config = pod(&daemon, &format!("p{number}"));
        let request = berth::wire::RunPodSandboxRequest { config: Some(config), ..Default::default() };
        if let Err(status) = daemon.runtime().run_pod_sandbox(request).await {
            assert_eq!(status.code(), tonic::Code::ResourceExhausted, "{status:?}");
            return;
        }
    }
    panic!("8 pods in 4 addresses");
}

#[tokio::test]
async fn host_ports_lead_to_pods_from_the_host_and_from_pods() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    // Another address of the host, as a network card has one.
    run("ip", &["link", "add", "card", "type", "veth", "peer", "name", "card-end"]);
    run("ip", &["address", "add", "198.51.100.1/24", "dev", "card"]);
    run("ip", &["link", "set", "card", "up"]);
    run("ip", &["link", "set", "card-end", "up"]);
    let ports = vec![port(Protocol::Tcp, "", 12_000, 8080), port(Protocol::Tcp, "198.51.100.1", 12_001, 8080)];
    let one = Node::run(&daemon, "one", ports).await;
    let two = Node::run(&daemon, "two", vec![]).await;
    let server = one.listen(8080);
    for address in ["127.0.0.1:12000", "198.51.100.1:12000", "198.51.100.1:12001"] {
        converse(&server, connect(address.parse().expect("an address")));
    }
    assert!(
        connect("127.0.0.1:12001".parse().expect("an address")).is_err(),
        "open on an address that was not asked for"
    );
    let published = "198.51.100.1:12000".parse().expect("an address");
    converse(&server, two.inside(|| connect(published)));
    // The pod itself, through its own host port.
    converse(&server, one.inside(|| connect(published)));

    daemon.remove_pod(&one.pod).await;
    assert!(connect(published).is_err(), "open after the pod is gone");
    run("ip", &["link", "delete", "card"]);
}

#[tokio::test]
async fn udp_ports_lead_to_pods_and_answers_come_back() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let node = Node::run(&daemon, "one", vec![port(Protocol::Udp, "", 12_053, 53)]).await;
    let server = node.inside(|| UdpSocket::bind("0.0.0.0:53").expect("bind"));
    let client = UdpSocket::bind("127.0.0.1:0").expect("bind");
    for socket in [&server, &client] {
        socket.set_read_timeout(Some(Duration::from_secs(5))).expect("set a timeout");
    }
    client.connect("127.0.0.1:12053").expect("connect");
    client.send(b"question").expect("send");
    let mut buffer = [0; 16];
    let (length, peer) = server.recv_from(&mut buffer).expect("receive");
    assert_eq!(&buffer[..length], b"question");
    server.send_to(b"answer", peer).expect("send");
    let length = client.recv(&mut buffer).expect("receive");
    assert_eq!(&buffer[..length], b"answer");
}

#[tokio::test]
async fn sctp_ports_lead_to_pods() {
    use nix::sys::socket::{
        AddressFamily, Backlog, SockFlag, SockProtocol, SockType, SockaddrIn, bind, connect, listen, socket,
    };
    requires!(Root, Sctp);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let node = Node::run(&daemon, "one", vec![port(Protocol::Sctp, "", 12_038, 38)]).await;
    let new = || socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), SockProtocol::Sctp).expect("socket");
    let server = node.inside(|| {
        let server = new();
        bind(std::os::fd::AsRawFd::as_raw_fd(&server), &SockaddrIn::new(0, 0, 0, 0, 38)).expect("bind");
        listen(&server, Backlog::new(1).expect("a backlog")).expect("listen");
        server
    });
    let client = new();
    connect(std::os::fd::AsRawFd::as_raw_fd(&client), &SockaddrIn::new(127, 0, 0, 1, 12_038)).expect("connect");
    drop(server);
}

#[tokio::test]
async fn a_host_port_is_given_once() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let with_port = |name: &str| {
        let mut config = pod(&daemon, name);
        config.port_mappings = vec![port(Protocol::Tcp, "", 12_000, 80)];
        config
    };
    let first = daemon.run_pod(&with_port("one")).await;
    let request = berth::wire::RunPodSandboxRequest { config: Some(with_port("two")), ..Default::default() };
    let (_, message) = crate::support::refusal(daemon.runtime().run_pod_sandbox(request).await);
    assert!(message.contains("12000"), "{message}");
    daemon.remove_pod(&first).await;
    daemon.run_pod(&with_port("three")).await;
}

/// kubelet sends all ports of a pod, most of them without one of the host.
#[tokio::test]
async fn a_port_without_one_of_the_host_is_not_opened() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let one = Node::run(&daemon, "one", vec![port(Protocol::Tcp, "", 0, 8080)]).await;
    let two = Node::run(&daemon, "two", vec![port(Protocol::Tcp, "", 0, 8080)]).await;
    let servers = [one.listen(8080), two.listen(8080)];
    for (node, server) in [&one, &two].into_iter().zip(&servers) {
        converse(server, connect(SocketAddr::new(node.ipv4(), 8080)));
    }
    assert!(connect(SocketAddr::from((Ipv4Addr::LOCALHOST, 8080))).is_err(), "a port of the host is open");
}

#[tokio::test]
async fn outside_sees_the_hosts_address() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let node = Node::run(&daemon, "one", vec![]).await;
    // Outside is a network namespace of another thread, behind a pair of links.
    let (to_host, from_outside) = std::sync::mpsc::channel();
    let (to_outside, from_host) = std::sync::mpsc::channel::<()>();
    let outside = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("make a network namespace");
        to_host.send(nix::unistd::gettid()).expect("tell the thread's id");
        from_host.recv().expect("the link is there");
        run("ip", &["address", "add", "203.0.113.2/24", "dev", "outside"]);
        run("ip", &["link", "set", "outside", "up"]);
        let server = TcpListener::bind("203.0.113.2:80").expect("listen");
        to_host.send(nix::unistd::gettid()).expect("tell that we listen");
        server.accept().expect("accept").1.ip()
    });
    let thread = from_outside.recv().expect("the thread's id").to_string();
    run("ip", &["link", "add", "uplink", "type", "veth", "peer", "name", "outside", "netns", &thread]);
    run("ip", &["address", "add", "203.0.113.1/24", "dev", "uplink"]);
    run("ip", &["link", "set", "uplink", "up"]);
    to_outside.send(()).expect("tell that the link is there");
    from_outside.recv().expect("it listens");
    let address = "203.0.113.2:80".parse().expect("an address");
    node.inside(|| connect(address)).expect("connect to the outside");
    assert_eq!(outside.join().expect("the thread"), "203.0.113.1".parse::<IpAddr>().expect("an address"));
    run("ip", &["link", "delete", "uplink"]);
}

#[tokio::test]
async fn the_loopback_of_a_pod_is_up_and_its_links_are_few() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let (_, id) = daemon.run_sleeper().await;
    let links = daemon.exec(&id, &["ip", "-o", "link"]).await;
    assert_eq!(links.lines().count(), 2, "{links}");
    assert!(links.lines().all(|line| line.contains("UP")), "{links}");
    assert!(daemon.exec(&id, &["ip", "route"]).await.contains("default"));
    assert!(daemon.exec(&id, &["ip", "-6", "route"]).await.contains("default"));
}

#[tokio::test]
async fn a_stopped_pod_has_no_link_any_more() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let id = daemon.run_pod(&pod(&daemon, "p")).await;
    assert!(!daemon.leftovers().links.is_empty());
    daemon.stop_pod(&id).await;
    eventually("its link goes", async || daemon.leftovers().links.iter().all(|link| link == "berth0")).await;
}
