//! What comes and goes with pods.

use super::*;
use crate::network::{Driver, plan};

#[test]
fn nothing_is_left_of_a_pod() {
    on_host(
        &["nft"],
        |_| {},
        |host| {
            let (table, links) = (host.table(), host.links());
            let pods: Vec<_> = (1..4).map(Pod::new).collect();
            for (at, pod) in pods.iter().enumerate() {
                let mapped = port(Protocol::Tcp, 8000 + at as u16, 80);
                let one = PortMapping { host_ip: Some(addr("127.0.0.1")), ..port(Protocol::Udp, 8000 + at as u16, 80) };
                host.attach(pod, &[mapped, one, port(Protocol::Sctp, 8000 + at as u16, 80)]);
            }
            let with_pods = host.table();
            assert_ne!(with_pods, table);
            assert!(with_pods.contains("127.0.0.1 . udp . 8000 : 10.88.0.2 . 80"), "{with_pods}");
            assert_eq!(host.links().len(), links.len() + 3);
            for pod in &pods {
                host.detach(pod);
                host.detach(pod);
            }
            assert_eq!(host.table(), table, "host ports close at once");
            host.settle();
            assert_eq!((host.table(), host.links()), (table, links));
            assert!(pods.iter().all(|pod| pod.links().is_empty()));
            host.runtime.block_on(host.network().close()).expect("close");
            assert!(host.links().is_empty());
            assert_eq!(output("nft", &["list", "ruleset"]), "");
            assert_eq!(std::fs::read_dir(host.dir.path().join("network/leases")).expect("directory").count(), 0);
        },
    );
}

#[test]
fn attaching_again_changes_nothing() {
    on_host(
        &[],
        |_| {},
        |host| {
            let pod = Pod::new(1);
            let first = host.attach(&pod, &[port(Protocol::Tcp, 80, 80)]);
            assert_eq!(host.attach(&pod, &[port(Protocol::Tcp, 80, 80)]), first);
            assert_eq!(host.network().attachment(&pod.id), Some(first));
            host.detach(&pod);
            assert_eq!(host.network().attachment(&pod.id), None);
        },
    );
}

#[test]
fn a_pod_whose_namespace_was_lost_gets_its_addresses_in_the_new_one() {
    on_host(
        &[],
        |_| {},
        |host| {
            let lost = Pod::new(1);
            let before = host.attach(&lost, &[]);
            drop(lost);
            host.until("the link went with its namespace", || host.links().len() == 1);
            let found = Pod::new(1);
            assert_eq!(host.attach(&found, &[]), before);
            let _server = found.inside(|| Server::start("pod", 80));
            assert!(tcp(v4(&before), 80).is_ok());
        },
    );
}

#[test]
fn a_failed_attach_leaves_nothing() {
    on_host(
        &["ip", "nft"],
        |_| {},
        |host| {
            let (table, links) = (host.table(), host.links());
            let pod = Pod::new(1);
            pod.inside(|| ip("link add eth0 type bridge"));
            let error = host.try_attach(&pod, &[port(Protocol::Tcp, 80, 80)]).expect_err("eth0 is there already");
            assert!(crate::error::chain(&error).contains("exists"), "{error}");
            assert!(host.try_attach(&Pod { path: "/nonexistent".into(), ..Pod::new(2) }, &[]).is_err());
            assert!(host.try_attach(&Pod { path: "/dev/null".into(), ..Pod::new(3) }, &[]).is_err());
            host.settle();
            assert_eq!((host.table(), host.links()), (table, links));
            host.attach(&Pod::new(4), &[port(Protocol::Tcp, 80, 80)]);
        },
    );
}

#[test]
fn an_empty_subnet_is_said_and_fills_again() {
    let configure = |config: &mut Config| config.subnets = vec!["10.9.0.0/30".parse().expect("subnet")];
    on_host(&[], configure, |host| {
        let (a, b) = (Pod::new(1), Pod::new(2));
        host.attach(&a, &[]);
        assert!(matches!(host.try_attach(&b, &[]), Err(Error::PoolEmpty(_))));
        assert!(b.links().is_empty());
        host.detach(&a);
        host.settle();
        assert_eq!(v4(&host.attach(&b, &[])), addr("10.9.0.2"));
    });
}

#[test]
fn an_address_is_used_again_only_when_its_link_is_gone() {
    let configure = |config: &mut Config| config.subnets = vec!["10.9.0.0/30".parse().expect("subnet")];
    on_host(&[], configure, |host| {
        for number in 1..20 {
            let pod = Pod::new(number);
            let link = loop {
                match host.try_attach(&pod, &[]) {
                    Ok(attachment) => break attachment.host_interface,
                    Err(Error::PoolEmpty(_)) => thread::sleep(Duration::from_millis(1)),
                    Err(error) => panic!("{error}"),
                }
            };
            let links = host.links();
            assert_eq!(links.iter().filter(|name| name.starts_with("veth")).collect::<Vec<_>>(), [&link]);
            host.detach(&pod);
        }
    });
}

#[test]
fn new_pods_take_addresses_of_the_new_cidr_and_old_ones_keep_theirs() {
    on_host(
        &[],
        |_| {},
        |host| {
            let set = |host: &Host, cidr: &str| host.runtime.block_on(host.network().set_pod_cidr(cidr));
            let (a, b) = (Pod::new(1), Pod::new(2));
            let at_a = host.attach(&a, &[]);
            for bad in ["", "x", "10.0.0.0/31", "10.0.0.0/24,10.1.0.0/24", "10.0.0.0/33", "fd00::/129", "127.0.0.0/8"] {
                let error = set(host, bad).expect_err(bad);
                assert_eq!(crate::error::Classify::kind(&error), crate::error::Kind::InvalidArgument, "{bad}: {error}");
            }
            set(host, "10.9.8.0/24, fd00:9::/64").expect("new cidr");
            host.open();
            let at_b = host.attach(&b, &[]);
            assert_eq!((v4(&at_b), v6(&at_b)), (addr("10.9.8.2"), addr("fd00:9::2")));
            let _server = a.inside(|| Server::start("a", 80));
            assert_eq!(b.inside(|| tcp(v4(&at_a), 80)).expect("old and new pods"), format!("a {}", v4(&at_b)));
            assert_eq!(tcp(v6(&at_a), 80).expect("host to old pod"), "a fd00:10:88::1");
        },
    );
}

/// The chains of a table as `nft` shows it.
fn chains(table: &str) -> String {
    table[table.find("chain").expect("chain")..].to_owned()
}

#[test]
fn rules_do_not_grow_with_pods() {
    on_host(
        &["nft"],
        |_| {},
        |host| {
            let rules = chains(&host.table());
            let pods: Vec<_> = (1..=300).map(Pod::new).collect();
            for (at, pod) in pods.iter().enumerate() {
                host.attach(pod, &[port(Protocol::Tcp, 10_000 + at as u16, 80)]);
            }
            assert_eq!(chains(&host.table()), rules);
            assert!(host.table().contains("tcp . 10299 : "));
            pods.iter().for_each(|pod| host.detach(pod));
            host.settle();
            assert_eq!(host.links(), ["berth0"]);
        },
    );
}

#[test]
fn a_bridge_is_full_at_its_1023rd_port() {
    on_host(
        &[],
        |config| config.driver = Driver::Bridge,
        |host| {
            host.runtime.block_on(async {
                let here = Connection::here().expect("netlink");
                let links = here.handle().link();
                let bridge =
                    crate::network::link::by_name(here.handle(), "berth0").await.expect("links").expect("bridge");
                for number in 0..1022 {
                    let pair = rtnetlink::LinkVeth::new(&format!("port{number}"), &format!("peer{number}"));
                    links.add(pair.controller(bridge.index).build()).execute().await.expect("port");
                }
            });
            // Kept: with its namespace, the pod's port would go.
            let last = Pod::new(1);
            host.attach(&last, &[]);
            let full = host.try_attach(&Pod::new(2), &[]).expect_err("1023 ports are the most");
            assert!(matches!(&full, Error::BridgeFull(name) if name == "berth0"), "{full}");
            host.until("the refused pod's lease has ended", || host.leases().len() == 1);
        },
    );
}

#[test]
fn hardware_addresses_are_the_pods_own() {
    on_host(
        &["ip"],
        |_| {},
        |host| {
            let pod = Pod::new(0x1234);
            let attachment = host.attach(&pod, &[]);
            assert_eq!(attachment.mac, plan::pod_mac(&pod.id).to_string());
            assert!(pod.inside(|| ip("link show eth0")).contains(&attachment.mac));
        },
    );
}

#[test]
fn the_table_says_what_it_is_to_say() {
    let configure = |config: &mut Config| {
        config.table = "t".to_owned();
        config.unmasqueraded = vec!["192.0.2.0/24".parse().expect("net")];
    };
    on_host(&["nft"], configure, |host| {
        host.attach(&Pod::new(1), &[PortMapping { host_ip: Some(addr("::1")), ..port(Protocol::Sctp, 8080, 80) }]);
        let text = host.table();
        assert!(text.contains("elements = { ::1 . sctp . 8080 : fd00:10:88::2 . 80 }"), "{text}");
        let group = text.split("iifgroup ").nth(1).and_then(|rest| rest.split(' ').next()).expect("group");
        assert_eq!(chains(&text).replace(group, "PODS"), CHAINS);
    });
}

const CHAINS: &str = "\
chain host_ports {
\t\tdnat ip to ip daddr . meta l4proto . th dport map @address_ports4
\t\tdnat ip6 to ip6 daddr . meta l4proto . th dport map @address_ports6
\t\tmeta nfproto ipv4 dnat ip to meta l4proto . th dport map @ports4
\t\tmeta nfproto ipv6 dnat ip6 to meta l4proto . th dport map @ports6
\t}

\tchain raw {
\t\ttype filter hook prerouting priority raw; policy accept;
\t\tiifgroup PODS ip daddr 127.0.0.0/8 drop
\t\tiifgroup PODS ip saddr 127.0.0.0/8 drop
\t\tiifgroup PODS fib saddr . iif oif 0 drop
\t}

\tchain prerouting {
\t\ttype nat hook prerouting priority dstnat; policy accept;
\t\tfib daddr type local jump host_ports
\t}

\tchain output {
\t\ttype nat hook output priority -100; policy accept;
\t\tfib daddr type local jump host_ports
\t}

\tchain postrouting {
\t\ttype nat hook postrouting priority srcnat; policy accept;
\t\tip saddr 127.0.0.0/8 oifgroup PODS snat ip to 10.88.0.1
\t\tip6 saddr ::1 oifgroup PODS snat ip6 to fd00:10:88::1
\t\tct status dnat ip saddr . ip daddr @hairpin4 masquerade fully-random
\t\tct status dnat ip6 saddr . ip6 daddr @hairpin6 masquerade fully-random
\t\tip daddr 10.88.0.0/16 return
\t\tip6 daddr fd00:10:88::/64 return
\t\tip daddr 192.0.2.0/24 return
\t\tip daddr 224.0.0.0/4 return
\t\tip6 daddr ff00::/8 return
\t\tip saddr 10.88.0.0/16 masquerade fully-random
\t\tip6 saddr fd00:10:88::/64 masquerade fully-random
\t}
}
";
