//! Restarts, and others who change what is ours.

use std::collections::HashSet;

use super::*;
use crate::network::Recovery;

#[test]
fn a_restart_keeps_live_pods_and_removes_the_rest() {
    on_host(
        &["nft", "ip"],
        |_| {},
        |host| {
            let (live, dead) = (Pod::new(1), Pod::new(2));
            let at_live = host.attach(&live, &[port(Protocol::Tcp, 8001, 80)]);
            let _server = live.inside(|| Server::start("live", 80));
            let table = host.table();
            host.attach(&dead, &[port(Protocol::Tcp, 8002, 80)]);
            // A link of ours without a lease, and one that only looks like ours.
            let group = ip("-o -d link show group 0"); // The default group: nobody's.
            assert!(!group.contains(&at_live.host_interface));
            let ours = ip(&format!("-o link show {}", at_live.host_interface));
            let group = ours.split("group ").nth(1).and_then(|rest| rest.split(' ').next()).expect("group");
            ip(&format!("link add vethdeadbeef group {group} type veth peer name orphan"));
            ip("link add vethcafecafe type veth peer name foreign");

            host.open();
            assert!(tcp(addr("127.0.0.1"), 8001).is_ok(), "host ports are there before recovery");
            let recovered = host.runtime.block_on(host.network().recover(&HashSet::from([live.id.clone()])));
            assert_eq!(recovered.expect("recovery"), Recovery { kept: 1, released: vec![dead.id.clone()] });
            host.until("the dead pod's network is gone", || host.leases().len() == 1);
            host.until("the orphan is gone", || !host.links().contains(&"vethdeadbeef".to_owned()));
            let links = host.links();
            assert!(links.contains(&at_live.host_interface) && links.contains(&"vethcafecafe".to_owned()), "{links:?}");
            assert!(dead.links().is_empty());
            assert_eq!(host.table(), table);
            assert_eq!(host.attach(&live, &[]), at_live);
            assert_eq!(tcp(v4(&at_live), 80).expect("live pod"), "live 10.88.0.1");
        },
    );
}

#[test]
fn a_teardown_that_a_restart_interrupted_is_ended() {
    on_host(
        &[],
        |_| {},
        |host| {
            let pod = Pod::new(1);
            let attachment = host.attach(&pod, &[]);
            // As it is when the daemon is killed right after it has answered.
            rewrite_lease(host, &pod, "attached", "releasing");
            assert!(host.links().contains(&attachment.host_interface));
            assert!(matches!(host.try_attach(&pod, &[]), Err(Error::Releasing(_))));
            let other = Pod::new(2);
            assert_ne!(host.attach(&other, &[]).ips, attachment.ips);
            let live = HashSet::from([pod.id.clone(), other.id.clone()]);
            let recovery = host.runtime.block_on(host.network().recover(&live)).expect("recovery");
            assert_eq!(recovery.kept, 1);
            host.until("its link is gone", || !host.links().contains(&attachment.host_interface));
            host.until("its lease is gone", || host.leases().len() == 1);
        },
    );
}

#[test]
fn a_network_that_a_restart_found_half_made_is_removed() {
    on_host(
        &[],
        |_| {},
        |host| {
            let pod = Pod::new(1);
            let links = host.links();
            host.attach(&pod, &[port(Protocol::Tcp, 80, 80)]);
            rewrite_lease(host, &pod, "attached", "attaching");
            let recovery = host.runtime.block_on(host.network().recover(&HashSet::from([pod.id.clone()])));
            assert_eq!(recovery.expect("recovery"), Recovery { kept: 0, released: vec![pod.id.clone()] });
            host.settle();
            assert_eq!(host.links(), links);
            host.attach(&pod, &[port(Protocol::Tcp, 80, 80)]);
        },
    );
}

/// Starts the network anew, with a lease that says something else.
fn rewrite_lease(host: &mut Host, pod: &Pod, from: &str, to: &str) {
    let path = host.config.run_dir.join("leases").join(format!("{}.json", pod.id));
    let lease = std::fs::read_to_string(&path).expect("lease").replace(from, to);
    host.network = None;
    std::fs::write(&path, lease).expect("lease");
    host.open();
}

#[test]
fn a_table_that_somebody_removed_comes_back() {
    on_host(
        &["nft"],
        |_| {},
        |host| {
            let pod = Pod::new(1);
            host.attach(&pod, &[port(Protocol::Tcp, 80, 80)]);
            let table = host.table();
            let flush = || output("nft", &["flush", "ruleset"]);
            flush();
            assert_eq!(host.runtime.block_on(host.network().status()), Ok(()));
            host.until("status made it again", || output("nft", &["list", "ruleset"]) == table);
            flush();
            let other = Pod::new(2);
            host.attach(&other, &[port(Protocol::Tcp, 81, 80)]);
            assert!(host.table().contains("tcp . 80 : ") && host.table().contains("tcp . 81 : "), "{}", host.table());
            flush();
            host.detach(&other);
            assert_eq!(host.table(), table);
        },
    );
}

#[test]
fn two_engines_on_one_host_do_not_disturb_each_other() {
    on_host(
        &["nft"],
        |_| {},
        |host| {
            let pod = Pod::new(1);
            let attachment = host.attach(&pod, &[port(Protocol::Tcp, 8080, 80)]);
            let _server = pod.inside(|| Server::start("first", 80));
            let (table, links) = (host.table(), host.links());

            let other_config = Config {
                run_dir: host.dir.path().join("other"),
                subnets: vec!["10.99.0.0/24".parse().expect("subnet")],
                device: "berth1".to_owned(),
                table: "berth-other".to_owned(),
                ..Config::default()
            };
            let other = Network::open(other_config).expect("second network");
            host.runtime.block_on(other.recover(&HashSet::new())).expect("recovery");
            let other_pod = Pod::new(2);
            let config = PodConfig { ports: vec![port(Protocol::Tcp, 8081, 80)], ..PodConfig::default() };
            host.runtime.block_on(other.attach(&other_pod.id, &other_pod.path, &config)).expect("attach");
            assert_eq!(host.table(), table);
            assert_eq!(tcp(addr("127.0.0.1"), 8080).expect("first"), "first 10.88.0.1");
            assert_eq!(other_pod.inside(|| tcp(v4(&attachment), 80)).expect("across").split(' ').next(), Some("first"));
            host.runtime.block_on(other.detach(&other_pod.id)).expect("detach");
            host.runtime.block_on(other.close()).expect("close");
            assert_eq!((host.table(), host.links()), (table, links));
        },
    );
}

#[test]
fn what_the_host_lacks_is_said() {
    on_host(
        &[],
        |_| {},
        |host| {
            caps::drop(None, caps::CapSet::Effective, caps::Capability::CAP_NET_ADMIN).expect("drop capability");
            let error =
                Network::open(Config { run_dir: host.dir.path().join("x"), ..Config::default() }).expect_err("open");
            assert!(error.to_string().contains("NET_ADMIN"), "{}", crate::error::chain(&error));
            assert_eq!(crate::error::Classify::kind(&error), crate::error::Kind::Unavailable);
        },
    );
}

#[test]
fn senseless_configurations_are_refused() {
    let open = |change: fn(&mut Config)| {
        let mut config = Config { run_dir: "/nonexistent".into(), ..Config::default() };
        change(&mut config);
        Network::open(config).expect_err("opened")
    };
    assert!(matches!(open(|config| config.device = "a-name-that-is-too-long".into()), Error::Config(_)));
    assert!(matches!(open(|config| config.device = "../x".into()), Error::Config(_)));
    assert!(matches!(open(|config| config.table = String::new()), Error::Config(_)));
    assert!(matches!(open(|config| config.mtu = Some(100)), Error::Config(_)));
}
