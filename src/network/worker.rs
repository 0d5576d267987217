//! The thread that does all link work, one job after the other: the kernel does it under one lock anyway, and so what is
//! recorded and what is there change together without a lock of ours.

use std::{
    collections::HashSet,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use ipnet::IpNet;
use tokio::sync::{Notify, mpsc, oneshot};

use super::{
    Attachment, Config, Error, Recovery,
    config::Topology,
    family::Family,
    firewall::{Firewall, Policy},
    host,
    lease::{Lease, LeaseBook, Phase, write_by_rename},
    link::{self, Link, bridge},
    netns::Connection,
    plan,
    port::HostPort,
    teardown::{self, Doomed},
};
use crate::types::{Id, PortMapping};

/// What the worker is asked to do, with the way back for the answer.
#[derive(Debug)]
pub(super) enum Job {
    /// Joins a pod to the network.
    Attach { pod: Id, netns: PathBuf, ports: Vec<PortMapping>, answer: Answer<Attachment> },
    /// Takes a pod off the network.
    Detach { pod: Id, answer: Answer<()> },
    /// Removes what belongs to no pod of `live`.
    Recover { live: HashSet<Id>, answer: Answer<Recovery> },
    /// Takes addresses of new pods from `subnets`.
    SetSubnets { subnets: Vec<IpNet>, answer: Answer<()> },
    /// Makes the table again if somebody has removed it.
    Check,
    /// Removes everything from the host if no pod has a network any more.
    Close { answer: Answer<()> },
}

type Answer<T> = oneshot::Sender<Result<T, Error>>;

/// What the worker shares with those who only read, and with the teardown.
#[derive(Debug)]
pub(super) struct Shared {
    book: Mutex<LeaseBook>,
    /// Told when leases have ended.
    pub(super) ended: Notify,
    /// Why pods cannot be given a network now, if so.
    condition: Mutex<Option<String>>,
}

impl Shared {
    /// The leases. A change is complete before a panic could happen in it, so a poisoned lock is no reason to stop.
    pub(super) fn book(&self) -> MutexGuard<'_, LeaseBook> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why pods cannot be given a network now, if so.
    pub(super) fn condition(&self) -> MutexGuard<'_, Option<String>> {
        self.condition.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Prepares the host and starts the worker and the teardown, in the network namespace of the calling thread.
///
/// # Errors
/// What the host lacks.
pub(super) fn start(config: Config, topology: Topology) -> Result<(Arc<Shared>, mpsc::UnboundedSender<Job>), Error> {
    let (jobs, queue) = mpsc::unbounded_channel();
    let (ready, is_ready) = std::sync::mpsc::sync_channel(1);
    spawn("network", async move {
        match Worker::prepare(config, topology).await {
            Ok(worker) => {
                // The receiver is there until this has been received.
                let _ = ready.send(Ok(worker.shared.clone()));
                worker.run(queue).await;
            }
            Err(error) => {
                let _ = ready.send(Err(error));
            }
        }
    })?;
    let shared = is_ready.recv().unwrap_or(Err(Error::Closed))?;
    Ok((shared, jobs))
}

/// Runs a future on a thread of its own. Async work there may block in the kernel without delaying anything else.
fn spawn(name: &str, work: impl Future<Output = ()> + Send + 'static) -> Result<(), Error> {
    let lacks = |source| Error::Lacks { what: "threads and sockets for the network", source };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(lacks)?;
    let thread = thread::Builder::new().name(name.to_owned()).spawn(move || runtime.block_on(work));
    thread.map(drop).map_err(lacks)
}

/// All that is needed to join pods to the network.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) config: Config,
    pub(super) topology: Topology,
    pub(super) shared: Arc<Shared>,
    /// The host's links.
    pub(super) host: Connection,
    pub(super) firewall: Firewall,
    /// The link that holds the gateway addresses.
    pub(super) bridge: Link,
    /// Group of the links that pods are reached over.
    pub(super) group: u32,
    /// Maximum transmission unit of pod links in bytes.
    pub(super) mtu: u32,
    pub(super) doomed: mpsc::UnboundedSender<Doomed>,
}

/// What Ethernet allows, for a host without a default route.
const DEFAULT_MTU: u32 = 1500;

impl Worker {
    async fn prepare(config: Config, topology: Topology) -> Result<Self, Error> {
        let connect = || Connection::here().map_err(|source| Error::Lacks { what: "a netlink socket", source });
        let host = connect()?;
        let ipv6 = host.has_ipv6();
        let subnets = usable(&remembered_subnets(&config).unwrap_or_else(|| config.subnets.clone()), ipv6)?;
        let book = LeaseBook::open(config.run_dir.join("leases"), &subnets)?;
        let shared = Arc::new(Shared { book: Mutex::new(book), ended: Notify::new(), condition: Mutex::new(None) });

        host::enable_forwarding(ipv6)?;
        let mtu = match config.mtu {
            Some(mtu) => mtu,
            None => link::default_route_mtu(host.handle()).await?.unwrap_or(DEFAULT_MTU),
        };
        let group = group(&config.table);
        let bridge_group = if topology == Topology::Bridge { group } else { 0 };
        let bridge = bridge::ensure(host.handle(), &config.device, mtu, bridge_group).await?;
        if topology == Topology::Bridge {
            link::route_loopback_over(host.handle(), &bridge, &[Family::V4]).await?;
        }

        let (doomed, queue) = mpsc::unbounded_channel();
        let for_teardown = shared.clone();
        spawn("network-teardown", teardown::run(for_teardown, group, queue))?;
        let firewall = Firewall::open(config.table.clone())?;
        let mut worker = Self { config, topology, shared, host, firewall, bridge, group, mtu, doomed };
        worker.add_gateways().await?;
        worker.rebuild_table()?;
        Ok(worker)
    }

    async fn run(mut self, mut queue: mpsc::UnboundedReceiver<Job>) {
        while let Some(job) = queue.recv().await {
            // Whoever asked may be gone; the work is done all the same, and a repeated request finds it done.
            match job {
                Job::Attach { pod, netns, ports, answer } => {
                    let _ = answer.send(self.attach(&pod, &netns, &ports).await);
                }
                Job::Detach { pod, answer } => {
                    let _ = answer.send(self.detach(&pod));
                }
                Job::Recover { live, answer } => {
                    let _ = answer.send(self.recover(&live).await);
                }
                Job::SetSubnets { subnets, answer } => {
                    let _ = answer.send(self.set_subnets(&subnets).await);
                }
                Job::Check => self.check(),
                Job::Close { answer } => {
                    let _ = answer.send(self.close().await);
                }
            }
        }
    }

    async fn set_subnets(&mut self, subnets: &[IpNet]) -> Result<(), Error> {
        let subnets = usable(subnets, self.host.has_ipv6())?;
        let before = self.shared.book().pool_subnets();
        self.shared.book().set_subnets(&subnets)?;
        if self.shared.book().pool_subnets() == before {
            return Ok(());
        }
        let applied = self.apply_subnets(&subnets).await;
        if applied.is_err() {
            self.shared.book().set_subnets(&before)?;
        }
        applied
    }

    async fn apply_subnets(&mut self, subnets: &[IpNet]) -> Result<(), Error> {
        self.add_gateways().await?;
        self.rebuild_table()?;
        let path = subnets_file(&self.config);
        write_by_rename(&path, &subnets).map_err(|source| Error::File { operation: "write", path, source })
    }

    async fn add_gateways(&self) -> Result<(), Error> {
        let subnets = self.shared.book().subnets();
        for address in plan::gateway_addresses(&subnets, self.topology) {
            link::add_address(self.host.handle(), self.bridge.index, address).await?;
        }
        Ok(())
    }

    /// What the table is to say now.
    fn policy(&self) -> Policy {
        Policy {
            group: self.group,
            subnets: self.shared.book().subnets(),
            masquerade: self.config.masquerade,
            unmasqueraded: self.config.unmasqueraded.clone(),
            routed: self.is_routed(),
        }
    }

    /// Whether each pod has a link of its own to the host.
    pub(super) fn is_routed(&self) -> bool {
        self.topology == Topology::Routed
    }

    /// Makes the table anew from the leases.
    pub(super) fn rebuild_table(&mut self) -> Result<(), Error> {
        let has_ports = |lease: &&Lease| lease.phase != Phase::Releasing;
        let ports: Vec<HostPort> =
            self.shared.book().all().filter(has_ports).flat_map(|lease| lease.ports.clone()).collect();
        let rebuilt = self.firewall.rebuild(&self.policy(), &ports);
        *self.shared.condition() = rebuilt.as_ref().err().map(|error| crate::error::chain(error));
        rebuilt
    }

    fn check(&mut self) {
        match self.firewall.exists() {
            Ok(true) if self.shared.condition().is_none() => {}
            Ok(_) => {
                tracing::warn!(table = self.config.table, "the nftables table is gone or stale: making it again");
                if let Err(error) = self.rebuild_table() {
                    tracing::error!(error = crate::error::chain(&error), "the nftables table cannot be made");
                }
            }
            Err(error) => *self.shared.condition() = Some(crate::error::chain(&error)),
        }
    }

    async fn close(&mut self) -> Result<(), Error> {
        for _ in 0..CLOSE_POLLS {
            if self.shared.book().all().all(|lease| lease.phase != Phase::Releasing) {
                break;
            }
            tokio::time::sleep(CLOSE_POLL).await;
        }
        if self.shared.book().all().next().is_none() {
            self.firewall.remove()?;
            bridge::remove(self.host.handle(), &self.config.device).await?;
        }
        Ok(())
    }
}

/// How often and how long closing looks whether the teardown has ended: two seconds in all.
const CLOSE_POLLS: u32 = 200;
const CLOSE_POLL: Duration = Duration::from_millis(10);

/// The link group of an engine: from its table's name, so that two engines on one host have different ones. A high bit
/// keeps it away from groups that people give; the lowest is 0, because the group with 1 is that of links to be deleted.
fn group(table: &str) -> u32 {
    // FNV-1a.
    let hash = table.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    (hash & 0x3fff_fffe) | 1 << 30
}

/// Those subnets that this host can use.
fn usable(subnets: &[IpNet], ipv6: bool) -> Result<Vec<IpNet>, Error> {
    let subnets: Vec<IpNet> = subnets.iter().filter(|net| ipv6 || net.addr().is_ipv4()).map(IpNet::trunc).collect();
    for family in Family::ALL {
        if subnets.iter().filter(|net| Family::of(net.addr()) == family).count() > 1 {
            return Err(Error::Config("more than one pod subnet of a family".to_owned()));
        }
    }
    if subnets.is_empty() {
        return Err(Error::Config("no pod subnet that this host can use".to_owned()));
    }
    Ok(subnets)
}

fn subnets_file(config: &Config) -> PathBuf {
    config.run_dir.join("subnets.json")
}

/// The subnets that were set in this boot, if any.
fn remembered_subnets(config: &Config) -> Option<Vec<IpNet>> {
    let bytes = std::fs::read(subnets_file(config)).ok()?;
    serde_json::from_slice(&bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_with_different_tables_have_different_groups() {
        let (a, b) = (group("berth"), group("berth-test"));
        assert_ne!(a, b);
        assert!(a & 1 == 0 && b & 1 == 0 && a >> 30 == 1);
    }

    #[test]
    fn a_host_without_ipv6_uses_only_ipv4_subnets() {
        let both: Vec<IpNet> = vec!["fd00::/64".parse().expect("net"), "10.0.0.0/24".parse().expect("net")];
        assert_eq!(usable(&both, false).expect("subnets"), both[1..]);
        assert!(usable(&both[..1], false).is_err());
        assert!(usable(&[both[1], both[1]], true).is_err());
    }
}
