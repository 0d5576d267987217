//! What a pod's link shall look like, as plain data.
//!
//! With [`Topology::Routed`] the two ends know each other by permanent neighbour entries, so that nothing has to be asked
//! on the link: the host's end has no IPv4 address, and the first packet goes at once. The gateway addresses are on
//! one link of the host ([`Config::device`](super::Config::device)), and the source of what the host sends to pods.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

use ipnet::IpNet;

use super::{config::Topology, family::Family, ipam, lease::Lease};
use crate::types::Id;

/// Name of the link in every pod.
pub(super) const POD_LINK: &str = "eth0";

/// Hardware address of the host's end of every routed link. The links share no segment, so one address does for all
/// of them, and pods know it without asking.
const HOST_MAC: Mac = Mac([0x02, 0, 0, 0, 0, 0x01]);

/// The link-local address that the kernel derives from [`HOST_MAC`] (RFC 4291, appendix A): the routed IPv6 gateway.
const HOST_LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0x0000, 0x00ff, 0xfe00, 0x0001);

/// A hardware address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mac(pub(super) [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// A pod's link: two ends, one in the host's namespace and one in the pod's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LinkPlan {
    /// The host's end.
    pub(super) host: End,
    /// The pod's end.
    pub(super) pod: End,
    /// Whether the host's end is to be a port of the bridge.
    pub(super) bridged: bool,
    /// Whose loopback addresses of the host may go over the host's end: the way from `127.0.0.1` and `::1` to host ports.
    /// Empty with a bridge, which is prepared for that once.
    pub(super) from_loopback: Vec<Family>,
}

/// One end of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct End {
    /// Name of the link.
    pub(super) name: String,
    /// Hardware address; `None` lets the kernel choose.
    pub(super) mac: Option<Mac>,
    /// Addresses with their prefix lengths.
    pub(super) addresses: Vec<IpNet>,
    /// Routes over the link.
    pub(super) routes: Vec<Route>,
    /// What need not be asked on the link.
    pub(super) neighbours: Vec<Neighbour>,
}

/// A route over a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Route {
    /// Where it leads.
    pub(super) destination: IpNet,
    /// The next hop; `None` when the destination is on the link itself.
    pub(super) gateway: Option<IpAddr>,
    /// The source address of what this machine itself sends there; `None` lets the kernel choose.
    pub(super) source: Option<IpAddr>,
}

/// A permanent entry of the neighbour table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Neighbour {
    /// Address on the link.
    pub(super) ip: IpAddr,
    /// Its hardware address.
    pub(super) mac: Mac,
}

/// Hardware address of a pod's link: locally administered, and otherwise the beginning of the pod's id.
pub(super) fn pod_mac(pod: &Id) -> Mac {
    let byte = |at: usize| u8::from_str_radix(&pod.as_str()[at..at + 2], 16).unwrap_or_default();
    Mac([0x02, byte(0), byte(2), byte(4), byte(6), byte(8)])
}

/// The link of a lease.
pub(super) fn link(lease: &Lease, topology: Topology) -> LinkPlan {
    let mac = pod_mac(&lease.pod);
    let has_ports = |family: &Family| lease.ports.iter().any(|port| Family::of(port.target.ip()) == *family);
    match topology {
        Topology::Routed => LinkPlan {
            host: End {
                name: lease.link.clone(),
                mac: Some(HOST_MAC),
                addresses: Vec::new(),
                routes: lease.addresses.iter().map(to_pod).collect(),
                neighbours: lease.ips().into_iter().map(|ip| Neighbour { ip, mac }).collect(),
            },
            pod: End {
                name: POD_LINK.to_owned(),
                mac: Some(mac),
                addresses: lease.ips().into_iter().map(IpNet::from).collect(),
                routes: lease.addresses.iter().map(|net| default(routed_gateway(net))).collect(),
                neighbours: lease
                    .addresses
                    .iter()
                    .map(|net| Neighbour { ip: routed_gateway(net), mac: HOST_MAC })
                    .collect(),
            },
            bridged: false,
            from_loopback: Family::ALL.into_iter().filter(has_ports).collect(),
        },
        Topology::Bridge => LinkPlan {
            host: End {
                name: lease.link.clone(),
                mac: None,
                addresses: Vec::new(),
                routes: Vec::new(),
                neighbours: Vec::new(),
            },
            pod: End {
                name: POD_LINK.to_owned(),
                mac: Some(mac),
                addresses: lease.addresses.clone(),
                routes: lease.addresses.iter().map(|net| default(ipam::gateway(*net))).collect(),
                neighbours: Vec::new(),
            },
            bridged: true,
            from_loopback: Vec::new(),
        },
    }
}

/// The gateway's addresses as they are to be on the host: the bridge's whole subnet is on its link, a routed one is not.
pub(super) fn gateway_addresses(subnets: &[IpNet], topology: Topology) -> Vec<IpNet> {
    let address = |subnet: &IpNet| match topology {
        Topology::Routed => IpNet::from(ipam::gateway(*subnet)),
        Topology::Bridge => IpNet::new_assert(ipam::gateway(*subnet), subnet.prefix_len()),
    };
    subnets.iter().map(address).collect()
}

fn routed_gateway(address: &IpNet) -> IpAddr {
    match address {
        IpNet::V4(_) => ipam::gateway(*address),
        IpNet::V6(_) => HOST_LINK_LOCAL.into(),
    }
}

fn to_pod(address: &IpNet) -> Route {
    Route { destination: address.addr().into(), gateway: None, source: Some(ipam::gateway(*address)) }
}

fn default(gateway: IpAddr) -> Route {
    let any: IpAddr = match gateway {
        IpAddr::V4(_) => [0u8; 4].into(),
        IpAddr::V6(_) => [0u8; 16].into(),
    };
    Route { destination: IpNet::new_assert(any, 0), gateway: Some(gateway), source: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::lease::Phase;

    fn lease() -> Lease {
        Lease {
            pod: Id::from_bytes([0xab; 32]),
            phase: Phase::Attaching,
            link: "vethabababab".to_owned(),
            addresses: vec!["10.88.0.7/16".parse().expect("net"), "fd00::7/64".parse().expect("net")],
            ports: Vec::new(),
        }
    }

    fn show(routes: &[Route]) -> Vec<String> {
        routes
            .iter()
            .map(|route| {
                let via = route.gateway.map(|gateway| format!(" via {gateway}")).unwrap_or_default();
                let src = route.source.map(|source| format!(" src {source}")).unwrap_or_default();
                format!("{}{via}{src}", route.destination)
            })
            .collect()
    }

    #[test]
    fn a_routed_pod_knows_only_its_gateway_and_the_host_only_the_pod() {
        let plan = link(&lease(), Topology::Routed);
        assert_eq!(show(&plan.host.routes), ["10.88.0.7/32 src 10.88.0.1", "fd00::7/128 src fd00::1"]);
        assert_eq!(show(&plan.pod.routes), ["0.0.0.0/0 via 10.88.0.1", "::/0 via fe80::ff:fe00:1"]);
        assert_eq!(plan.pod.addresses, ["10.88.0.7/32".parse().expect("net"), "fd00::7/128".parse().expect("net")]);
        assert_eq!(plan.host.neighbours[0].mac.to_string(), "02:ab:ab:ab:ab:ab");
        assert!(!plan.bridged && plan.from_loopback.is_empty());
    }

    #[test]
    fn a_bridged_pod_has_its_subnet_on_the_link() {
        let plan = link(&lease(), Topology::Bridge);
        assert_eq!(plan.pod.addresses, lease().addresses);
        assert_eq!(show(&plan.pod.routes), ["0.0.0.0/0 via 10.88.0.1", "::/0 via fd00::1"]);
        assert!(plan.bridged && plan.host.routes.is_empty());
    }
}
