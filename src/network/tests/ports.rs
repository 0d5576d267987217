//! Host ports.

use rustix::net::{AddressFamily, SocketType, ipproto};

use super::*;
use crate::network::Driver;

fn a_host_port_is_reached_from_everywhere(driver: Driver) {
    on_host(
        &["ip"],
        |config| config.driver = driver,
        |host| {
            let stranger = host.stranger();
            let (a, b) = (Pod::new(1), Pod::new(2));
            let both = [port(Protocol::Tcp, 8080, 80), port(Protocol::Udp, 8080, 80)];
            let (at_a, at_b) = (host.attach(&a, &both), host.attach(&b, &[]));
            let _server = a.inside(|| Server::start("a", 80));
            for ask in [tcp as Ask, udp] {
                let from_host = |to: &str| ask(addr(to), 8080).unwrap_or_else(|error| format!("{to}: {error}"));
                let from_pod = |pod: &Pod, to: &str| pod.inside(|| from_host(to));
                assert_eq!(from_host("127.0.0.1"), "a 10.88.0.1");
                assert_eq!(from_host("127.1.2.3"), "a 10.88.0.1");
                assert!(from_host("192.0.2.1").starts_with("a "));
                assert!(from_host("2001:db8::1").starts_with("a "));
                assert_eq!(from_pod(&stranger, "192.0.2.1"), "a 192.0.2.2");
                assert_eq!(from_pod(&stranger, "2001:db8::1"), "a 2001:db8::2");
                assert!(from_pod(&a, "192.0.2.1").starts_with("a "), "{}", from_pod(&a, "192.0.2.1"));
                assert!(from_pod(&a, "2001:db8::1").starts_with("a "));
                assert!(from_pod(&a, "10.88.0.1").starts_with("a "));
                if driver == Driver::Routed {
                    assert_eq!(from_host("::1"), "a fd00:10:88::1");
                    assert_eq!(from_pod(&b, "192.0.2.1"), format!("a {}", v4(&at_b)));
                    assert_eq!(from_pod(&b, "2001:db8::1"), format!("a {}", v6(&at_b)));
                } else {
                    let refused = tcp(addr("::1"), 8080).expect_err("a bridge has no way to ::1");
                    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused, "better than waiting");
                    assert!(from_pod(&b, "192.0.2.1").starts_with("a "));
                    assert!(from_pod(&b, "2001:db8::1").starts_with("a "));
                }
                assert_eq!(ask(v4(&at_a), 80).expect("the pod's own port"), "a 10.88.0.1");
            }
            host.detach(&a);
            assert!(tcp(addr("127.0.0.1"), 8080).is_err(), "the port is closed at once");
        },
    );
}

#[test]
fn a_host_port_is_reached_from_everywhere_over_routed_links() {
    a_host_port_is_reached_from_everywhere(Driver::Routed);
}

#[test]
fn a_host_port_is_reached_from_everywhere_over_the_bridge() {
    a_host_port_is_reached_from_everywhere(Driver::Bridge);
}

#[test]
fn a_host_port_of_one_address_is_not_one_of_others() {
    on_host(
        &["ip"],
        |_| {},
        |host| {
            let stranger = host.stranger();
            let (a, b) = (Pod::new(1), Pod::new(2));
            let on = |address: &str| PortMapping { host_ip: Some(addr(address)), ..port(Protocol::Tcp, 8080, 80) };
            host.attach(&a, &[on("127.0.0.1")]);
            host.attach(&b, &[on("2001:db8::1"), on("192.0.2.1")]);
            let _server_a = a.inside(|| Server::start("a", 80));
            let _server_b = b.inside(|| Server::start("b", 80));
            assert_eq!(tcp(addr("127.0.0.1"), 8080).expect("a"), "a 10.88.0.1");
            assert_eq!(stranger.inside(|| tcp(addr("192.0.2.1"), 8080)).expect("b"), "b 192.0.2.2");
            assert_eq!(stranger.inside(|| tcp(addr("2001:db8::1"), 8080)).expect("b"), "b 2001:db8::2");
            assert!(tcp(addr("127.0.0.2"), 8080).is_err());
        },
    );
}

#[test]
fn two_pods_cannot_have_one_host_port() {
    on_host(
        &[],
        |_| {},
        |host| {
            let (a, b) = (Pod::new(1), Pod::new(2));
            host.attach(&a, &[port(Protocol::Tcp, 8080, 80)]);
            let refused = host.try_attach(&b, &[port(Protocol::Tcp, 8080, 80)]);
            assert!(matches!(refused, Err(Error::PortTaken { port: 8080, holder, .. }) if holder == a.id));
            assert!(b.links().is_empty() && host.leases().len() == 1, "nothing was done for it");
            host.attach(&b, &[port(Protocol::Udp, 8080, 80)]);
            host.detach(&a);
            let c = Pod::new(3);
            host.attach(&c, &[port(Protocol::Tcp, 8080, 80)]);
        },
    );
}

/// This kernel may have no SCTP sockets: what is tried is that a first packet comes to the pod with the pod's port.
#[test]
fn sctp_packets_come_to_the_pods_port() {
    on_host(
        &[],
        |_| {},
        |host| {
            let pod = Pod::new(1);
            host.attach(&pod, &[port(Protocol::Sctp, 3868, 99)]);
            let raw =
                || rustix::net::socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::SCTP)).expect("raw socket");
            let at_pod = pod.inside(raw);
            rustix::net::sockopt::set_socket_timeout(&at_pod, rustix::net::sockopt::Timeout::Recv, Some(PATIENCE))
                .expect("timeout");
            rustix::net::sendto(
                raw(),
                &sctp_init(5000, 3868),
                rustix::net::SendFlags::empty(),
                &SocketAddr::from(([127, 0, 0, 1], 0)),
            )
            .expect("send");
            let mut packet = [0; 128];
            let (length, _) =
                rustix::net::recv(&at_pod, &mut packet[..], rustix::net::RecvFlags::empty()).expect("packet");
            let header = &packet[20..length];
            assert_eq!(u16::from_be_bytes([header[2], header[3]]), 99);
        },
    );
}

/// An INIT chunk in an SCTP packet (RFC 9260), which connection tracking takes for the beginning of an association.
fn sctp_init(from: u16, to: u16) -> Vec<u8> {
    let mut packet = Vec::new();
    packet.extend(from.to_be_bytes());
    packet.extend(to.to_be_bytes());
    // Verification tag and checksum, both 0.
    packet.extend([0; 8]);
    // INIT, 20 bytes: initiate tag, window, streams out and in, sequence number.
    packet.extend([1, 0, 0, 20]);
    packet.extend([0, 0, 0, 7]);
    packet.extend([0, 1, 0, 0]);
    packet.extend([0, 1, 0, 1]);
    packet.extend([0, 0, 0, 1]);
    packet
}

#[test]
fn a_udp_peer_that_keeps_sending_comes_to_the_next_pod() {
    on_host(
        &["ip"],
        |_| {},
        |host| {
            let stranger = host.stranger();
            let ports = [port(Protocol::Udp, 5353, 53)];
            let socket = stranger.inside(|| UdpSocket::bind("192.0.2.2:4000").expect("socket"));
            let to = SocketAddr::from(([192, 0, 2, 1], 5353));
            socket.connect(to).expect("connect");
            let early = udp_by(&socket, to).expect_err("before there is a pod");
            assert_eq!(early.kind(), io::ErrorKind::ConnectionRefused);

            let a = Pod::new(1);
            host.attach(&a, &ports);
            let server = a.inside(|| Server::start("a", 53));
            assert_eq!(udp_by(&socket, to).expect("answer"), "a 192.0.2.2");
            drop(server);
            host.detach(&a);

            let b = Pod::new(2);
            host.attach(&b, &ports);
            let _server = b.inside(|| Server::start("b", 53));
            assert_eq!(udp_by(&socket, to).expect("answer"), "b 192.0.2.2");
        },
    );
}
