//! What every pod has been given, kept in files so that a restart of the daemon changes nothing.

use std::{
    collections::HashMap,
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{
    Error,
    ipam::Pool,
    port::{self, HostPort, PortTable},
};
use crate::types::{Id, PortMapping};

/// How far a pod's network is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Phase {
    /// Being set up: what is there may be incomplete.
    Attaching,
    /// Complete.
    Attached,
    /// Host ports are closed; the link may still be there and its addresses must not be used again.
    Releasing,
}

/// What a pod has been given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lease {
    /// Whose it is.
    pub(super) pod: Id,
    /// How far it is.
    pub(super) phase: Phase,
    /// Name of the link's end on the host.
    pub(super) link: String,
    /// Addresses, IPv4 first, each with its subnet's prefix length.
    pub(super) addresses: Vec<IpNet>,
    /// Host ports.
    #[serde(default)]
    pub(super) ports: Vec<HostPort>,
}

impl Lease {
    /// The bare addresses.
    pub(super) fn ips(&self) -> Vec<IpAddr> {
        self.addresses.iter().map(IpNet::addr).collect()
    }
}

/// All leases, and what is free. Every change is on disk before it is in memory.
#[derive(Debug)]
pub(super) struct LeaseBook {
    dir: PathBuf,
    pools: Vec<Pool>,
    ports: PortTable,
    leases: HashMap<Id, Lease>,
}

impl LeaseBook {
    /// Reads the leases in `dir`, which is made if it is missing.
    ///
    /// # Errors
    /// When the directory cannot be made or read, or `subnets` has one without room.
    pub(super) fn open(dir: PathBuf, subnets: &[IpNet]) -> Result<Self, Error> {
        fs::create_dir_all(&dir).map_err(|source| file("make", &dir, source))?;
        let mut book = Self { dir, pools: Vec::new(), ports: PortTable::default(), leases: HashMap::new() };
        for lease in read_leases(&book.dir)? {
            if lease.phase != Phase::Releasing {
                // Two leases for one port cannot have been written; if they have, the first keeps it.
                let _ = book.ports.take(&lease.pod, &lease.ports);
            }
            book.leases.insert(lease.pod.clone(), lease);
        }
        book.set_subnets(subnets)?;
        Ok(book)
    }

    /// Leases addresses of `subnets` from now on. Leases of other subnets stay.
    ///
    /// # Errors
    /// When a subnet has no room; nothing is changed then.
    pub(super) fn set_subnets(&mut self, subnets: &[IpNet]) -> Result<(), Error> {
        let mut pools = Vec::with_capacity(subnets.len());
        for subnet in subnets {
            let refuse = |reason: &str| Error::PodCidr { cidr: subnet.to_string(), reason: reason.to_owned() };
            let mut pool = Pool::new(*subnet).map_err(refuse)?;
            self.leases.values().flat_map(|lease| &lease.addresses).for_each(|address| pool.claim(address.addr()));
            pools.push(pool);
        }
        pools.sort_by_key(|pool| !pool.subnet().addr().is_ipv4());
        self.pools = pools;
        Ok(())
    }

    /// The subnets of which addresses are leased now.
    pub(super) fn pool_subnets(&self) -> Vec<IpNet> {
        self.pools.iter().map(Pool::subnet).collect()
    }

    /// The subnets of which addresses are leased now, and those of which some are still leased.
    pub(super) fn subnets(&self) -> Vec<IpNet> {
        let leased = self.leases.values().flat_map(|lease| &lease.addresses).map(IpNet::trunc);
        let mut subnets: Vec<_> = self.pools.iter().map(Pool::subnet).chain(leased).collect();
        subnets.sort();
        subnets.dedup();
        subnets
    }

    /// Gives a pod addresses and host ports, and writes that down as [`Phase::Attaching`].
    ///
    /// # Errors
    /// When a port is taken, a subnet is empty or the lease cannot be written; nothing is leased then.
    pub(super) fn reserve(&mut self, pod: &Id, mappings: &[PortMapping], ipv6: bool) -> Result<Lease, Error> {
        let addresses = self.lease_addresses(ipv6)?;
        let lease = self.reserve_ports(pod, mappings, &addresses);
        match lease {
            Ok(lease) => {
                self.leases.insert(pod.clone(), lease.clone());
                Ok(lease)
            }
            Err(error) => {
                self.free_addresses(&addresses);
                Err(error)
            }
        }
    }

    /// Whether a lease will end soon.
    pub(super) fn is_any_releasing(&self) -> bool {
        self.leases.values().any(|lease| lease.phase == Phase::Releasing)
    }

    fn lease_addresses(&mut self, ipv6: bool) -> Result<Vec<IpNet>, Error> {
        let mut addresses: Vec<IpNet> = Vec::new();
        for pool in self.pools.iter_mut().filter(|pool| ipv6 || pool.subnet().addr().is_ipv4()) {
            match pool.lease() {
                Some(ip) => addresses.push(IpNet::new_assert(ip, pool.subnet().prefix_len())),
                None => {
                    let subnet = pool.subnet();
                    self.free_addresses(&addresses);
                    return Err(Error::PoolEmpty(subnet));
                }
            }
        }
        Ok(addresses)
    }

    fn reserve_ports(&mut self, pod: &Id, mappings: &[PortMapping], addresses: &[IpNet]) -> Result<Lease, Error> {
        let ips: Vec<_> = addresses.iter().map(IpNet::addr).collect();
        let ports = port::resolve(mappings, &ips)?;
        let lease = Lease {
            pod: pod.clone(),
            phase: Phase::Attaching,
            link: self.link_name(pod),
            addresses: addresses.to_vec(),
            ports,
        };
        self.ports.take(pod, &lease.ports)?;
        self.write(&lease).inspect_err(|_| self.ports.free(pod, &lease.ports))?;
        Ok(lease)
    }

    /// `veth` and eight digits of the pod's id: the first that no other pod's link has.
    fn link_name(&self, pod: &Id) -> String {
        let name = |at: usize| format!("veth{}", &pod.as_str()[at..at + 8]);
        let is_free = |name: &String| self.leases.values().all(|lease| lease.link != *name);
        (0..Id::LEN - 8).map(name).find(is_free).unwrap_or_else(|| name(0))
    }

    /// Writes down another phase of a pod's lease. Leaving [`Phase::Attached`] frees its host ports.
    ///
    /// # Errors
    /// When it cannot be written; nothing is changed then.
    pub(super) fn set_phase(&mut self, pod: &Id, phase: Phase) -> Result<(), Error> {
        let Some(lease) = self.leases.get(pod) else { return Ok(()) };
        let lease = Lease { phase, ..lease.clone() };
        self.write(&lease)?;
        if phase == Phase::Releasing {
            self.ports.free(pod, &lease.ports);
        }
        self.leases.insert(pod.clone(), lease);
        Ok(())
    }

    /// Ends a lease: its addresses are free now.
    ///
    /// # Errors
    /// When the file cannot be removed; the lease stays then.
    pub(super) fn end(&mut self, pod: &Id) -> Result<(), Error> {
        let Some(lease) = self.leases.get(pod) else { return Ok(()) };
        let path = self.path(pod);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(file("remove", &path, source)),
            _ => {}
        }
        let lease = lease.clone();
        self.free_addresses(&lease.addresses);
        self.ports.free(pod, &lease.ports);
        self.leases.remove(pod);
        Ok(())
    }

    fn free_addresses(&mut self, addresses: &[IpNet]) {
        for address in addresses {
            self.pools.iter_mut().for_each(|pool| pool.free(address.addr()));
        }
    }

    /// A pod's lease.
    pub(super) fn get(&self, pod: &Id) -> Option<&Lease> {
        self.leases.get(pod)
    }

    /// All leases.
    pub(super) fn all(&self) -> impl Iterator<Item = &Lease> {
        self.leases.values()
    }

    fn path(&self, pod: &Id) -> PathBuf {
        self.dir.join(format!("{pod}.json"))
    }

    fn write(&self, lease: &Lease) -> Result<(), Error> {
        let path = self.path(&lease.pod);
        write_by_rename(&path, lease).map_err(|source| file("write", &path, source))
    }
}

/// Writes a value as JSON so that the file is either the old or the new one. The run directory is in memory: nothing
/// is to be gained from `fsync`.
///
/// # Errors
/// When it cannot be written.
pub(super) fn write_by_rename<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let temporary = path.with_extension("new");
    fs::write(&temporary, serde_json::to_vec(value)?)?;
    fs::rename(&temporary, path)
}

fn read_leases(dir: &Path) -> Result<Vec<Lease>, Error> {
    let mut leases = Vec::new();
    for entry in fs::read_dir(dir).map_err(|source| file("read", dir, source))? {
        let path = entry.map_err(|source| file("read", dir, source))?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let bytes = fs::read(&path).map_err(|source| file("read", &path, source))?;
        match serde_json::from_slice(&bytes) {
            Ok(lease) => leases.push(lease),
            // Its link belongs to nobody now; recovery removes it.
            Err(error) => tracing::warn!(path = %path.display(), %error, "dropped a lease that does not parse"),
        }
    }
    Ok(leases)
}

fn file(operation: &'static str, path: &Path, source: io::Error) -> Error {
    Error::File { operation, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Protocol;

    fn nets(text: &str) -> Vec<IpNet> {
        text.split(',').map(|net| net.parse().expect("subnet")).collect()
    }

    fn pod(byte: u8) -> Id {
        Id::from_bytes([byte; 32])
    }

    fn tcp(host_port: u16) -> PortMapping {
        PortMapping { protocol: Protocol::Tcp, container_port: 80, host_port, host_ip: None }
    }

    #[test]
    fn a_restart_finds_the_same_leases() {
        let dir = tempfile::tempdir().expect("dir");
        let mut book = LeaseBook::open(dir.path().join("leases"), &nets("fd00::/64,10.0.0.0/24")).expect("book");
        let lease = book.reserve(&pod(1), &[tcp(80)], true).expect("lease");
        assert!(lease.addresses[0].addr().is_ipv4(), "IPv4 comes first");
        book.set_phase(&pod(1), Phase::Attached).expect("phase");
        drop(book);

        let mut book = LeaseBook::open(dir.path().join("leases"), &nets("10.0.0.0/24")).expect("book");
        assert_eq!(book.get(&pod(1)), Some(&Lease { phase: Phase::Attached, ..lease.clone() }));
        assert!(matches!(book.reserve(&pod(2), &[tcp(80)], true), Err(Error::PortTaken { .. })));
        let other = book.reserve(&pod(2), &[], true).expect("lease");
        assert_ne!(other.addresses, lease.addresses[..1]);
        assert_eq!(book.subnets(), nets("10.0.0.0/24,fd00::/64"), "subnets with leases are still ours");
    }

    #[test]
    fn a_refused_reservation_leases_nothing() {
        let dir = tempfile::tempdir().expect("dir");
        let mut book = LeaseBook::open(dir.path().to_owned(), &nets("10.0.0.0/30,fd00::/64")).expect("book");
        let mut bad = tcp(80);
        bad.container_port = 0;
        assert!(book.reserve(&pod(1), &[bad], true).is_err());
        book.reserve(&pod(1), &[tcp(80)], true).expect("the only address is still free");
        assert!(matches!(book.reserve(&pod(2), &[], true), Err(Error::PoolEmpty(_))));
        assert_eq!(fs::read_dir(dir.path()).expect("dir").count(), 1);
    }

    #[test]
    fn addresses_are_free_after_the_end_and_ports_already_before() {
        let dir = tempfile::tempdir().expect("dir");
        let mut book = LeaseBook::open(dir.path().to_owned(), &nets("10.0.0.0/29")).expect("book");
        book.reserve(&pod(1), &[tcp(80)], true).expect("lease");
        book.set_phase(&pod(1), Phase::Releasing).expect("phase");
        book.reserve(&pod(2), &[tcp(80)], true).expect("the port was free at once");
        for byte in 3..6 {
            book.reserve(&pod(byte), &[], true).expect("lease");
        }
        assert!(matches!(book.reserve(&pod(6), &[], true), Err(Error::PoolEmpty(_))));
        book.end(&pod(1)).expect("end");
        book.reserve(&pod(6), &[], true).expect("the address is free");
        book.end(&pod(1)).expect("ending twice is no error");
    }

    #[test]
    fn links_of_pods_whose_ids_begin_alike_have_different_names() {
        let dir = tempfile::tempdir().expect("dir");
        let mut book = LeaseBook::open(dir.path().to_owned(), &nets("10.0.0.0/24")).expect("book");
        let mut bytes = [7; 32];
        let first = book.reserve(&Id::from_bytes(bytes), &[], true).expect("lease").link;
        bytes[31] = 8;
        let second = book.reserve(&Id::from_bytes(bytes), &[], true).expect("lease").link;
        assert_eq!(first, "veth07070707");
        assert_ne!(first, second);
        assert!(second.len() <= 15);
    }

    #[test]
    fn a_broken_file_does_not_stop_the_engine() {
        let dir = tempfile::tempdir().expect("dir");
        fs::write(dir.path().join("x.json"), "{").expect("write");
        assert_eq!(LeaseBook::open(dir.path().to_owned(), &nets("10.0.0.0/24")).expect("book").all().count(), 0);
    }
}
