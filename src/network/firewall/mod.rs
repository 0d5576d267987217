//! Our nftables table: masquerade, host ports, and what pods may not do.
//!
//! The table is computed as plain data (`model.rs`), encoded (`nft.rs`) and put in place in one transaction
//! (`socket.rs`): packets see the old table or the new one, never a part. Rules do not grow with the number of pods;
//! what differs from pod to pod is elements of maps and sets.
//!
//! Other tables are not ours to change: if one drops forwarded packets, pods are cut off, and accepting them here would
//! not help.

mod conntrack;
mod model;
mod nft;
mod socket;

use std::io;

use ipnet::IpNet;

use super::{Error, port::HostPort};
use socket::NetfilterSocket;

/// What the table is made from.
#[derive(Debug, Clone, Default)]
pub(super) struct Policy {
    /// Link group of the links that pods are reached over.
    pub(super) group: u32,
    /// Subnets of pods.
    pub(super) subnets: Vec<IpNet>,
    /// Whether traffic that leaves the subnets gets an address of the host.
    pub(super) masquerade: bool,
    /// Destinations outside of the subnets that are reached without that.
    pub(super) unmasqueraded: Vec<IpNet>,
    /// Whether each pod has a link of its own, so that what comes over it must come from that pod.
    pub(super) routed: bool,
}

/// The table of one engine.
#[derive(Debug)]
pub(super) struct Firewall {
    table: String,
    socket: NetfilterSocket,
}

impl Firewall {
    /// Connects to the packet filter of the calling thread's namespace.
    ///
    /// # Errors
    /// When the kernel has none.
    pub(super) fn open(table: String) -> Result<Self, Error> {
        let socket = NetfilterSocket::open()
            .map_err(|source| Error::Lacks { what: "netfilter's netlink interface in its kernel", source })?;
        Ok(Self { table, socket })
    }

    /// Makes the whole table anew, with `ports` in it; what was there under its name is gone in the same moment.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(super) fn rebuild(&mut self, policy: &Policy, ports: &[HostPort]) -> Result<(), Error> {
        let table = model::table(policy, ports);
        let messages = nft::rebuild(&self.table, &table);
        self.commit("rebuild", &messages)
    }

    /// Opens a pod's host ports.
    ///
    /// # Errors
    /// When the kernel refuses: `NotFound` inside says that somebody removed the table.
    pub(super) fn open_ports(&mut self, ports: &[HostPort], routed: bool) -> Result<(), Error> {
        let messages = nft::add_elements(&self.table, &model::elements(ports, routed));
        self.commit("open host ports", &messages)?;
        self.forget_flows(ports);
        Ok(())
    }

    /// Closes a pod's host ports.
    ///
    /// # Errors
    /// As for [`Self::open_ports`].
    pub(super) fn close_ports(&mut self, ports: &[HostPort], routed: bool) -> Result<(), Error> {
        let messages = nft::delete_elements(&self.table, &model::elements(ports, routed));
        self.commit("close host ports", &messages)?;
        self.forget_flows(ports);
        Ok(())
    }

    /// Removes the table.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(super) fn remove(&mut self) -> Result<(), Error> {
        let messages = nft::remove(&self.table);
        self.commit("remove", &messages)
    }

    /// Whether the table is there.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub(super) fn exists(&mut self) -> Result<bool, Error> {
        match self.socket.request(nft::look_up(&self.table)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(self.refused("look up", source)),
        }
    }

    fn commit(&mut self, operation: &'static str, messages: &[nft::Change]) -> Result<(), Error> {
        if messages.is_empty() {
            return Ok(());
        }
        self.socket.transact(messages).map_err(|source| self.refused(operation, source))
    }

    fn refused(&self, operation: &'static str, source: io::Error) -> Error {
        match source.raw_os_error() {
            Some(libc::EPERM) => {
                Error::Lacks { what: "the capability NET_ADMIN in the host's network namespace", source }
            }
            Some(libc::EOPNOTSUPP | libc::EPROTONOSUPPORT | libc::EINVAL) if operation == "rebuild" => {
                Error::Lacks { what: "nf_tables with NAT, maps and fib in its kernel", source }
            }
            _ => Error::Firewall { operation, table: self.table.clone(), source },
        }
    }

    /// A UDP peer that keeps sending is kept on the way that its first packet took, to a pod that is gone or to no pod at
    /// all. TCP and SCTP peers notice and begin anew.
    fn forget_flows(&mut self, ports: &[HostPort]) {
        if let Err(error) = conntrack::forget(&mut self.socket, ports) {
            // Without connection tracking by netlink old flows end by their timeout.
            tracing::debug!(%error, "old UDP flows of host ports are kept");
        }
    }
}
