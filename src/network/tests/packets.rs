//! Who reaches whom, and with which address.

use super::*;
use crate::network::Driver;

fn everybody_reaches_everybody(driver: Driver) {
    on_host(
        &[],
        |config| config.driver = driver,
        |host| {
            let (a, b) = (Pod::new(1), Pod::new(2));
            let (at_a, at_b) = (host.attach(&a, &[]), host.attach(&b, &[]));
            let _server_a = a.inside(|| Server::start("a", 80));
            let _server_host = Server::start("host", 8000);

            for (gateway, ip_a, ip_b) in [("10.88.0.1", v4(&at_a), v4(&at_b)), ("fd00:10:88::1", v6(&at_a), v6(&at_b))]
            {
                let gateway = addr(gateway);
                for ask in [tcp as Ask, udp] {
                    assert_eq!(ask(ip_a, 80).expect("host to pod"), format!("a {gateway}"));
                    assert_eq!(b.inside(|| ask(ip_a, 80)).expect("pod to pod"), format!("a {ip_b}"));
                    assert_eq!(a.inside(|| ask(ip_a, 80)).expect("pod to itself"), format!("a {ip_a}"));
                    assert_eq!(b.inside(|| ask(gateway, 8000)).expect("pod to host"), format!("host {ip_b}"));
                }
            }
            assert!(a.inside(|| tcp(addr("127.0.0.1"), 80)).is_ok(), "loopback is up");
        },
    );
}

#[test]
fn everybody_reaches_everybody_over_routed_links() {
    everybody_reaches_everybody(Driver::Routed);
}

#[test]
fn everybody_reaches_everybody_over_the_bridge() {
    everybody_reaches_everybody(Driver::Bridge);
}

#[test]
fn strangers_see_the_host_unless_they_are_to_see_the_pod() {
    let configure = |config: &mut Config| {
        config.unmasqueraded = vec!["192.0.2.128/25".parse().expect("net"), "2001:db8::ff00/120".parse().expect("net")]
    };
    on_host(&["ip"], configure, |host| {
        let stranger = host.stranger();
        stranger.inside(|| {
            ip("addr add 192.0.2.200/24 dev far");
            ip("addr add 2001:db8::ff99/64 dev far nodad");
        });
        let _server = stranger.inside(|| Server::start("stranger", 80));
        let pod = Pod::new(1);
        let attachment = host.attach(&pod, &[]);
        let (ip4, ip6) = (v4(&attachment), v6(&attachment));
        let seen = |to: &str| pod.inside(|| tcp(addr(to), 80)).unwrap_or_else(|error| panic!("{to}: {error}"));
        assert_eq!(seen("192.0.2.2"), "stranger 192.0.2.1");
        assert_eq!(seen("2001:db8::2"), "stranger 2001:db8::1");
        assert_eq!(seen("192.0.2.200"), format!("stranger {ip4}"));
        assert_eq!(seen("2001:db8::ff99"), format!("stranger {ip6}"));
    });
}

#[test]
fn a_pod_cannot_send_with_an_address_that_is_not_its_own() {
    on_host(
        &["ip"],
        |_| {},
        |host| {
            let (pod, victim) = (Pod::new(1), Pod::new(2));
            host.attach(&pod, &[]);
            let victim_ip = v4(&host.attach(&victim, &[]));
            let _server = victim.inside(|| Server::start("victim", 80));
            let blind = |from: &str| {
                pod.inside(|| {
                    ip(&format!("addr add {from}/32 dev eth0"));
                    let socket = UdpSocket::bind((addr(from), 0)).expect("socket");
                    udp_by(&socket, SocketAddr::new(victim_ip, 80))
                })
            };
            let forwarded = || ip("-s -o link show type veth");
            let before = forwarded();
            assert!(blind("10.88.77.77").is_err());
            assert!(blind("192.0.2.77").is_err());
            drop(before);
            // What the victim's link has sent to it says whether anything came through.
            let received = Network::usage(&victim.path).expect("usage")[0].rx_bytes;
            pod.inside(|| udp(victim_ip, 80)).expect("with its own address it may");
            assert!(Network::usage(&victim.path).expect("usage")[0].rx_bytes > received);
        },
    );
}

#[test]
fn a_pod_cannot_reach_what_listens_on_the_hosts_loopback_only() {
    on_host(
        &["ip"],
        |_| {},
        |host| {
            let pod = Pod::new(1);
            // Host ports let loopback addresses over the link.
            host.attach(&pod, &[port(Protocol::Tcp, 8080, 80)]);
            let _server = Server::on("secret", SocketAddr::from(([127, 0, 0, 1], 9000)));
            assert!(tcp(addr("127.0.0.1"), 9000).is_ok());
            let stolen = pod.inside(|| {
                ip("addr del 127.0.0.1/8 dev lo");
                std::fs::write("/proc/sys/net/ipv4/conf/eth0/route_localnet", "1").expect("sysctl");
                ip("route add 127.0.0.1/32 via 10.88.0.1 dev eth0 onlink");
                udp(addr("127.0.0.1"), 9000).or_else(|_| tcp(addr("127.0.0.1"), 9000))
            });
            assert!(stolen.is_err(), "{stolen:?}");
        },
    );
}

#[test]
fn what_passes_is_counted() {
    on_host(
        &[],
        |_| {},
        |host| {
            let pod = Pod::new(1);
            let ip = v4(&host.attach(&pod, &[]));
            let _server = pod.inside(|| Server::start("pod", 80));
            let before = Network::usage(&pod.path).expect("usage");
            assert_eq!(before.len(), 1, "loopback is left out: {before:?}");
            assert_eq!(before[0].name, "eth0");
            udp(ip, 80).expect("answer");
            let after = Network::usage(&pod.path).expect("usage");
            assert!(after[0].rx_bytes > before[0].rx_bytes && after[0].tx_bytes > before[0].tx_bytes);
            assert!(matches!(Network::usage("/nonexistent".as_ref()), Err(Error::Netns { .. })));
            assert!(Network::usage("/dev/null".as_ref()).is_err());
        },
    );
}

#[test]
fn the_links_have_the_mtu_of_the_default_route() {
    on_host(
        &["ip"],
        |_| {},
        |host| {
            ip("link add uplink type veth peer name far mtu 1400");
            ip("link set uplink up mtu 1400");
            ip("link set far up");
            ip("addr add 192.0.2.1/24 dev uplink");
            ip("route add default via 192.0.2.2");
            host.open();
            let pod = Pod::new(1);
            let attachment = host.attach(&pod, &[]);
            assert!(pod.inside(|| ip("link show eth0")).contains("mtu 1400"));
            assert!(ip(&format!("link show {}", attachment.host_interface)).contains("mtu 1400"));
        },
    );
}

#[test]
fn a_host_or_pod_without_ipv6_has_ipv4_only() {
    on_host(
        &[],
        |_| {},
        |host| {
            let pod = Pod::new(1);
            pod.inside(|| std::fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1").expect("sysctl"));
            assert_eq!(host.attach(&pod, &[]).ips.len(), 1);
            std::fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1").expect("sysctl");
            host.open();
            let pod = Pod::new(2);
            let attachment = host.attach(&pod, &[port(Protocol::Tcp, 80, 80)]);
            assert_eq!(attachment.ips.len(), 1);
            let _server = pod.inside(|| Server::on("pod", SocketAddr::from(([0, 0, 0, 0], 80))));
            assert!(tcp(v4(&attachment), 80).is_ok());
        },
    );
}

#[test]
fn ports_inside_of_a_pod_are_dialled_on_its_loopback() {
    on_host(
        &[],
        |_| {},
        |host| {
            let pod = Pod::new(1);
            host.attach(&pod, &[]);
            let _v4 = pod.inside(|| Server::on("v4", SocketAddr::from(([127, 0, 0, 1], 80))));
            let _v6 = pod.inside(|| Server::on("v6", SocketAddr::from((Ipv6Addr::LOCALHOST, 81))));
            let dial = |port| {
                host.runtime.block_on(async {
                    let mut stream = Network::dial(Some(&pod.path), port).await?;
                    let mut text = String::new();
                    tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut text).await.expect("read");
                    Ok::<_, Error>(text)
                })
            };
            assert_eq!(dial(80).expect("IPv4"), "v4 127.0.0.1");
            assert_eq!(dial(81).expect("IPv6"), "v6 ::1");
            assert!(matches!(dial(82), Err(Error::Link { .. })));
        },
    );
}
