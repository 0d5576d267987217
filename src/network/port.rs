//! Host ports: which pod may have which.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
};

use serde::{Deserialize, Serialize};

use super::{Error, family::Family};
use crate::types::{Id, PortMapping, Protocol};

/// A port of the host and the address of a pod that it leads to, both of the same family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct HostPort {
    /// Transport.
    pub(super) protocol: Protocol,
    /// Address of the host; `None` for every one of the target's family.
    pub(super) address: Option<IpAddr>,
    /// Port of the host.
    pub(super) port: u16,
    /// Where it leads.
    pub(super) target: SocketAddr,
}

/// The host ports that `mappings` ask for, for a pod with the addresses `ips`.
///
/// A mapping without a host address is for every family that the pod has; one of `0.0.0.0` or `::` for all addresses of
/// that family.
///
/// # Errors
/// When a mapping makes no sense or two of them want the same host port.
pub(super) fn resolve(mappings: &[PortMapping], ips: &[IpAddr]) -> Result<Vec<HostPort>, Error> {
    let mut ports: Vec<HostPort> = Vec::new();
    for mapping in mappings.iter().filter(|mapping| mapping.host_port != 0) {
        let refuse = |reason: &str| Error::Port {
            host_port: mapping.host_port,
            protocol: mapping.protocol,
            reason: reason.to_owned(),
        };
        if mapping.container_port == 0 {
            return Err(refuse("the container port is 0"));
        }
        let targets: Vec<IpAddr> = ips.iter().copied().filter(|ip| same_family(mapping.host_ip, *ip)).collect();
        if targets.is_empty() {
            return Err(refuse("the pod has no address of the host address's family"));
        }
        for ip in targets {
            let port = HostPort {
                protocol: mapping.protocol,
                address: mapping.host_ip.filter(|address| !address.is_unspecified()),
                port: mapping.host_port,
                target: SocketAddr::new(ip, mapping.container_port),
            };
            if ports.contains(&port) {
                continue;
            }
            if ports.iter().any(|other| overlap(other, &port)) {
                return Err(refuse("the pod asks for it twice"));
            }
            ports.push(port);
        }
    }
    Ok(ports)
}

fn same_family(address: Option<IpAddr>, ip: IpAddr) -> bool {
    address.is_none_or(|address| Family::of(address) == Family::of(ip))
}

/// As with `bind(2)`: all addresses of a family overlap with each one of it.
fn overlap(a: &HostPort, b: &HostPort) -> bool {
    key(a) == key(b) && (a.address.is_none() || b.address.is_none() || a.address == b.address)
}

type Key = (Family, Protocol, u16);

fn key(port: &HostPort) -> Key {
    (Family::of(port.target.ip()), port.protocol, port.port)
}

/// Who has which host port.
#[derive(Debug, Default)]
pub(super) struct PortTable {
    taken: HashMap<Key, Vec<(HostPort, Id)>>,
}

impl PortTable {
    /// Gives all of `ports` to a pod, or none.
    ///
    /// # Errors
    /// When another pod has one of them.
    pub(super) fn take(&mut self, pod: &Id, ports: &[HostPort]) -> Result<(), Error> {
        for port in ports {
            let holders = self.taken.get(&key(port)).into_iter().flatten();
            for (other, holder) in holders {
                if holder != pod && overlap(other, port) {
                    return Err(Error::PortTaken { port: port.port, protocol: port.protocol, holder: holder.clone() });
                }
            }
        }
        for port in ports {
            let holders = self.taken.entry(key(port)).or_default();
            if !holders.iter().any(|(other, _)| other == port) {
                holders.push((*port, pod.clone()));
            }
        }
        Ok(())
    }

    /// Takes `ports` from a pod.
    pub(super) fn free(&mut self, pod: &Id, ports: &[HostPort]) {
        for port in ports {
            if let Some(holders) = self.taken.get_mut(&key(port)) {
                holders.retain(|(_, holder)| holder != pod);
                if holders.is_empty() {
                    self.taken.remove(&key(port));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(host_ip: Option<&str>, host_port: u16, container_port: u16) -> PortMapping {
        PortMapping {
            protocol: Protocol::Tcp,
            container_port,
            host_port,
            host_ip: host_ip.map(|ip| ip.parse().expect("address")),
        }
    }

    fn dual() -> Vec<IpAddr> {
        vec!["10.88.0.2".parse().expect("address"), "fd00::2".parse().expect("address")]
    }

    fn ports(mappings: &[PortMapping]) -> Vec<HostPort> {
        resolve(mappings, &dual()).expect("ports")
    }

    #[test]
    fn a_mapping_is_for_each_family_unless_it_names_one() {
        assert_eq!(ports(&[mapping(None, 80, 8080)]).len(), 2);
        let v6 = ports(&[mapping(Some("::"), 80, 8080)]);
        assert_eq!(v6.len(), 1);
        assert_eq!((v6[0].address, v6[0].target.to_string().as_str()), (None, "[fd00::2]:8080"));
        assert_eq!(ports(&[mapping(Some("127.0.0.1"), 80, 8080)])[0].address, "127.0.0.1".parse().ok());
        assert!(ports(&[mapping(None, 0, 8080)]).is_empty());
    }

    #[test]
    fn senseless_mappings_are_refused() {
        let v4_only = &dual()[..1];
        assert!(resolve(&[mapping(None, 80, 0)], v4_only).is_err());
        assert!(resolve(&[mapping(Some("::1"), 80, 8080)], v4_only).is_err());
        assert!(resolve(&[mapping(None, 80, 1), mapping(None, 80, 2)], v4_only).is_err());
        assert_eq!(resolve(&[mapping(None, 80, 1), mapping(None, 80, 1)], v4_only).expect("same twice").len(), 1);
    }

    #[test]
    fn two_pods_never_share_a_port_and_nothing_is_taken_on_refusal() {
        let (a, b) = (Id::from_bytes([1; 32]), Id::from_bytes([2; 32]));
        let mut table = PortTable::default();
        table.take(&a, &ports(&[mapping(Some("127.0.0.1"), 80, 1)])).expect("free");
        table.take(&b, &ports(&[mapping(Some("127.0.0.2"), 80, 1)])).expect("another address");
        let both = ports(&[mapping(None, 81, 1), mapping(None, 80, 1)]);
        assert!(matches!(table.take(&b, &both), Err(Error::PortTaken { port: 80, holder, .. }) if holder == a));
        table.take(&a, &ports(&[mapping(None, 81, 1)])).expect("a refused request takes nothing");
        table.free(&a, &ports(&[mapping(None, 81, 1), mapping(Some("127.0.0.1"), 80, 1)]));
        table.take(&b, &both).expect("freed");
    }
}
