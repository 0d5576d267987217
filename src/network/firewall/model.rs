//! The table as plain data: chains of rules, each in the packet filter's own terms, and maps with their elements.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::Policy;
use crate::network::{family::Family, ipam, port::HostPort};

/// All of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    /// Maps and sets.
    pub(super) sets: Vec<Set>,
    /// What is in them.
    pub(super) elements: Vec<Element>,
    /// Chains; one that is jumped to comes before those that jump.
    pub(super) chains: Vec<Chain>,
}

/// The maps and sets that the table has for each family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum SetKind {
    /// Host ports of one address: address, protocol and port lead to a pod's address and port.
    PortsOfAddress,
    /// Host ports of every address: protocol and port lead to a pod's address and port.
    Ports,
    /// Pairs of source and destination whose packets would come back to their sender with its own address.
    Hairpin,
    /// Pods' addresses, protocols and ports that host ports lead to.
    Published,
}

/// A map or set by kind and family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Set {
    /// Which.
    pub(super) kind: SetKind,
    /// Of which family.
    pub(super) family: Family,
}

/// One field of a key, read from a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    /// Source address.
    Source,
    /// Destination address.
    Destination,
    /// Transport protocol.
    Protocol,
    /// Destination port.
    Port,
}

impl Set {
    /// Its name in the table.
    pub(super) const fn name(self) -> &'static str {
        match (self.kind, self.family) {
            (SetKind::PortsOfAddress, Family::V4) => "address_ports4",
            (SetKind::PortsOfAddress, Family::V6) => "address_ports6",
            (SetKind::Ports, Family::V4) => "ports4",
            (SetKind::Ports, Family::V6) => "ports6",
            (SetKind::Hairpin, Family::V4) => "hairpin4",
            (SetKind::Hairpin, Family::V6) => "hairpin6",
            (SetKind::Published, Family::V4) => "published4",
            (SetKind::Published, Family::V6) => "published6",
        }
    }

    /// The fields of its keys.
    pub(super) const fn key(self) -> &'static [Field] {
        match self.kind {
            SetKind::PortsOfAddress | SetKind::Published => &[Field::Destination, Field::Protocol, Field::Port],
            SetKind::Ports => &[Field::Protocol, Field::Port],
            SetKind::Hairpin => &[Field::Source, Field::Destination],
        }
    }

    /// Whether its keys lead to an address and port.
    pub(super) const fn is_map(self) -> bool {
        matches!(self.kind, SetKind::PortsOfAddress | SetKind::Ports)
    }
}

/// An element of a map or set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Element {
    /// Where it is.
    pub(super) set: Set,
    /// Its key.
    pub(super) key: Vec<Value>,
    /// Where the key leads, in a map.
    pub(super) target: Option<SocketAddr>,
}

/// One field of an element's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value {
    /// An address.
    Address(IpAddr),
    /// A transport protocol's number.
    Protocol(u8),
    /// A port.
    Port(u16),
}

/// A list of rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chain {
    /// Its name.
    pub(super) name: &'static str,
    /// Where packets enter it; `None` if only by a jump.
    pub(super) hook: Option<Hook>,
    /// Its rules, in order.
    pub(super) rules: Vec<Rule>,
}

/// A place where packets pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hook {
    /// Arriving, before connection tracking.
    Raw,
    /// Arriving, where destinations are translated.
    PreRouting,
    /// Sent by the host itself, where destinations are translated.
    Output,
    /// Leaving, where sources are translated.
    PostRouting,
}

/// A rule: when all of its matches hold, its action is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    /// What must hold.
    pub(super) matches: Vec<Match>,
    /// What is done then.
    pub(super) action: Action,
}

/// Something that holds for a packet or does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Match {
    /// It came over a link of that group.
    FromGroup(u32),
    /// It goes over a link of that group.
    ToGroup(u32),
    /// Its source is in the subnet.
    Source(IpNet),
    /// Its destination is in the subnet.
    Destination(IpNet),
    /// Its destination is an address of the host.
    DestinationIsLocal,
    /// A packet to its source would not go over the link that it came by.
    SourceIsElsewhere,
    /// Its destination has been translated.
    Translated,
    /// Its fields are in the set.
    In(Set),
}

/// What is done with a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// It is dropped.
    Drop,
    /// The chain ends for it.
    Return,
    /// It goes through another chain.
    Jump(&'static str),
    /// Its destination becomes what the map says; if the map has nothing for it, the next rule comes.
    TranslateBy(Set),
    /// Its source becomes this address.
    SourceTo(IpAddr),
    /// Its source becomes an address of the link that it leaves by.
    Masquerade,
}

const LOOPBACK_V4: IpNet = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8));
const LOOPBACK_V6: IpNet = IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128));
const MULTICAST_V4: IpNet = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(224, 0, 0, 0), 4));
const MULTICAST_V6: IpNet = IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8));
const HOST_PORTS: &str = "host_ports";

/// The table of a policy, with the elements of `ports` in it.
pub(super) fn table(policy: &Policy, ports: &[HostPort]) -> Table {
    let kinds: &[SetKind] = if policy.routed {
        &[SetKind::PortsOfAddress, SetKind::Ports, SetKind::Hairpin]
    } else {
        &[SetKind::PortsOfAddress, SetKind::Ports, SetKind::Published]
    };
    Table {
        sets: kinds.iter().flat_map(|kind| Family::ALL.map(|family| Set { kind: *kind, family })).collect(),
        elements: elements(ports, policy.routed),
        chains: vec![
            Chain { name: HOST_PORTS, hook: None, rules: translate_host_ports() },
            Chain { name: "raw", hook: Some(Hook::Raw), rules: refuse_forged(policy) },
            Chain { name: "prerouting", hook: Some(Hook::PreRouting), rules: vec![to_host_ports()] },
            Chain { name: "output", hook: Some(Hook::Output), rules: own_to_host_ports(policy) },
            Chain { name: "postrouting", hook: Some(Hook::PostRouting), rules: translate_sources(policy) },
        ],
    }
}

/// A port of one address comes before the same port of every address.
fn translate_host_ports() -> Vec<Rule> {
    let by = |kind| Family::ALL.map(|family| Action::TranslateBy(Set { kind, family }));
    let actions = by(SetKind::PortsOfAddress).into_iter().chain(by(SetKind::Ports));
    actions.map(|action| Rule { matches: Vec::new(), action }).collect()
}

fn to_host_ports() -> Rule {
    Rule { matches: vec![Match::DestinationIsLocal], action: Action::Jump(HOST_PORTS) }
}

/// Where bridges call the packet filter (`bridge-nf-call-ip6tables`), an answer to `::1` gets that address back before
/// the kernel drops whatever comes over a link with it. Clients are better refused at once, and try `127.0.0.1` then.
fn own_to_host_ports(policy: &Policy) -> Vec<Rule> {
    let mut rules = vec![to_host_ports()];
    if !policy.routed {
        rules.insert(0, Rule { matches: vec![Match::Destination(LOOPBACK_V6)], action: Action::Return });
    }
    rules
}

/// Links that packets of loopback addresses may go over (for host ports of `127.0.0.1`) would else let a pod reach what
/// listens on the host's loopback only (CVE-2020-8558). Here, before connection tracking, an answer to the host still
/// has the gateway as its destination, so whatever names a loopback address is forged.
fn refuse_forged(policy: &Policy) -> Vec<Rule> {
    let from_pods = Match::FromGroup(policy.group);
    let mut matches = vec![Match::Destination(LOOPBACK_V4), Match::Source(LOOPBACK_V4)];
    if policy.routed {
        matches.push(Match::SourceIsElsewhere);
    }
    matches.into_iter().map(|forged| Rule { matches: vec![from_pods.clone(), forged], action: Action::Drop }).collect()
}

fn translate_sources(policy: &Policy) -> Vec<Rule> {
    let mut rules = Vec::new();
    // From 127.0.0.1 or ::1 to a host port: the pod must answer to an address of the host that is not its own
    // loopback's.
    let loopbacks: &[IpNet] = if policy.routed { &[LOOPBACK_V4, LOOPBACK_V6] } else { &[LOOPBACK_V4] };
    for loopback in loopbacks {
        let is_same_family = |subnet: &&IpNet| Family::of(subnet.addr()) == Family::of(loopback.addr());
        if let Some(subnet) = policy.subnets.iter().find(is_same_family) {
            rules.push(Rule {
                matches: vec![Match::Source(*loopback), Match::ToGroup(policy.group)],
                action: Action::SourceTo(ipam::gateway(*subnet)),
            });
        }
    }
    rules.extend(return_by_host(policy));
    if policy.masquerade {
        let stay = policy.subnets.iter().chain(&policy.unmasqueraded).chain([&MULTICAST_V4, &MULTICAST_V6]);
        rules.extend(stay.map(|net| Rule { matches: vec![Match::Destination(*net)], action: Action::Return }));
        let leave = policy.subnets.iter();
        rules.extend(leave.map(|net| Rule { matches: vec![Match::Source(*net)], action: Action::Masquerade }));
    }
    rules
}

/// Pods that reach a pod by a host port: the answer must pass the host again, which put another destination in. Over
/// routed links everything passes the host, and only a pod that reaches itself needs help; ports of a bridge answer
/// each other directly.
fn return_by_host(policy: &Policy) -> Vec<Rule> {
    if policy.routed {
        let hairpin = Family::ALL.map(|family| Match::In(Set { kind: SetKind::Hairpin, family }));
        return hairpin
            .into_iter()
            .map(|pair| Rule { matches: vec![Match::Translated, pair], action: Action::Masquerade })
            .collect();
    }
    let rule = |subnet: &IpNet| {
        let published = Set { kind: SetKind::Published, family: Family::of(subnet.addr()) };
        Rule {
            matches: vec![Match::Translated, Match::Source(*subnet), Match::In(published)],
            action: Action::Masquerade,
        }
    };
    policy.subnets.iter().map(rule).collect()
}

/// The elements of host ports.
pub(super) fn elements(ports: &[HostPort], routed: bool) -> Vec<Element> {
    let mut elements: Vec<Element> = Vec::new();
    for port in ports {
        elements.push(translation(port));
        let back = if routed { hairpin(port.target.ip()) } else { published(port) };
        if !elements.contains(&back) {
            elements.push(back);
        }
    }
    elements
}

fn translation(port: &HostPort) -> Element {
    let family = Family::of(port.target.ip());
    let transport = [Value::Protocol(port.protocol.number()), Value::Port(port.port)];
    let (kind, key) = match port.address {
        Some(address) => (SetKind::PortsOfAddress, [Value::Address(address)].into_iter().chain(transport).collect()),
        None => (SetKind::Ports, transport.to_vec()),
    };
    Element { set: Set { kind, family }, key, target: Some(port.target) }
}

fn hairpin(pod: IpAddr) -> Element {
    let set = Set { kind: SetKind::Hairpin, family: Family::of(pod) };
    Element { set, key: vec![Value::Address(pod), Value::Address(pod)], target: None }
}

fn published(port: &HostPort) -> Element {
    let set = Set { kind: SetKind::Published, family: Family::of(port.target.ip()) };
    let key = vec![
        Value::Address(port.target.ip()),
        Value::Protocol(port.protocol.number()),
        Value::Port(port.target.port()),
    ];
    Element { set, key, target: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Protocol;

    fn policy(routed: bool) -> Policy {
        let subnets = vec!["10.88.0.0/16".parse().expect("net"), "fd00::/64".parse().expect("net")];
        Policy { group: 7, subnets, masquerade: true, unmasqueraded: Vec::new(), routed }
    }

    fn host_port(address: Option<&str>, target: &str) -> HostPort {
        HostPort {
            protocol: Protocol::Tcp,
            address: address.map(|address| address.parse().expect("address")),
            port: 8080,
            target: target.parse().expect("target"),
        }
    }

    fn rules(table: &Table, chain: &str) -> Vec<Rule> {
        table.chains.iter().find(|found| found.name == chain).expect("chain").rules.clone()
    }

    #[test]
    fn chains_come_before_those_that_jump_to_them_and_sets_exist_for_what_is_used() {
        for routed in [true, false] {
            let table =
                table(&policy(routed), &[host_port(None, "10.88.0.2:80"), host_port(Some("::1"), "[fd00::2]:80")]);
            let mut seen = Vec::new();
            for chain in &table.chains {
                for rule in &chain.rules {
                    match rule.action {
                        Action::Jump(to) => assert!(seen.contains(&to), "{to} comes later"),
                        Action::TranslateBy(map) => assert!(map.is_map() && table.sets.contains(&map)),
                        _ => {}
                    }
                    for condition in &rule.matches {
                        assert!(!matches!(condition, Match::In(set) if !table.sets.contains(set)), "{condition:?}");
                    }
                }
                seen.push(chain.name);
            }
            for element in &table.elements {
                assert!(table.sets.contains(&element.set), "{element:?}");
                assert_eq!(element.key.len(), element.set.key().len());
                assert_eq!(element.target.is_some(), element.set.is_map());
            }
        }
    }

    #[test]
    fn two_ports_of_a_pod_need_one_way_back() {
        let ports = [host_port(None, "10.88.0.2:80"), host_port(Some("127.0.0.1"), "10.88.0.2:81")];
        let count = |routed| elements(&ports, routed).iter().filter(|element| element.target.is_none()).count();
        assert_eq!((count(true), count(false)), (1, 2));
    }

    #[test]
    fn sources_are_checked_only_where_each_pod_has_its_own_link() {
        let checked = |routed| {
            let forged = rules(&table(&policy(routed), &[]), "raw");
            forged.iter().any(|rule| rule.matches.contains(&Match::SourceIsElsewhere))
        };
        assert!(checked(true) && !checked(false));
    }

    #[test]
    fn without_masquerade_only_host_ports_translate_sources() {
        let policy = Policy { masquerade: false, ..policy(true) };
        let rules = rules(&table(&policy, &[]), "postrouting");
        let is_for_ports =
            |rule: &Rule| matches!(rule.action, Action::SourceTo(_)) || rule.matches.contains(&Match::Translated);
        assert!(rules.iter().all(is_for_ports), "{rules:?}");
    }
}
