//! The network of pods: links, addresses, routes, masquerade and host ports.
//!
//! - **Owns:** pod addresses and their leases, the host's ends of pod links, one nftables table, host ports.
//! - **Never:** makes or pins namespaces (it is given their paths), knows what a pod contains, runs a program.
//! - **Runs in:** the daemon; link work on two threads of its own, because the kernel's global link lock can hold a
//!   sender for milliseconds. The host's namespace is that of the thread which calls [`Network::open`].
//! - **Start reading at:** [`Network`], then `plan.rs`.

mod config;
mod error;

use std::{collections::HashSet, net::IpAddr, path::Path, sync::Arc};

pub use config::{Config, Driver};
pub use error::Error;

use crate::types::{Id, PortMapping};

/// How a pod is joined to the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// The pod's addresses, IPv4 first.
    pub ips: Vec<IpAddr>,
    /// Name of the link in the pod's namespace.
    pub interface: String,
    /// Name of the link's other end, in the host's namespace.
    pub host_interface: String,
    /// Hardware address of the pod's link, `02:…`.
    pub mac: String,
}

/// What has passed through one link of a namespace since it was made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InterfaceUsage {
    /// Name of the link.
    pub name: String,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets that could not be received.
    pub rx_errors: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets that could not be sent.
    pub tx_errors: u64,
}

/// What [`Network::recover`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Pods whose network goes on.
    pub kept: usize,
    /// Pods whose network is being removed now, because nobody has them any more.
    pub released: Vec<Id>,
}

/// The network of this host's pods.
#[derive(Debug)]
pub struct Network {}

impl Network {
    /// Prepares the host: forwarding, the gateway's link and the nftables table, with what the leases say.
    ///
    /// Blocks for some milliseconds. The calling thread's network namespace becomes the host's.
    ///
    /// # Errors
    /// Says what the host lacks: permission, kernel modules, a usable subnet.
    pub fn open(config: Config) -> Result<Arc<Self>, Error> {
        config.validate()?;
        Ok(Arc::new(Self {}))
    }

    /// Gives a pod its link, addresses, routes and host ports; the same answer again for a pod that has them.
    ///
    /// # Errors
    /// Nothing is left behind. A taken host port and an empty subnet are found before anything is done.
    pub async fn attach(&self, _pod: &Id, _netns: &Path, _ports: &[PortMapping]) -> Result<Attachment, Error> {
        Err(Error::Closed)
    }

    /// Takes a pod off the network; no error if it is not on it.
    ///
    /// Host ports close at once; the link goes in the background, and its addresses are free only after that.
    ///
    /// # Errors
    /// When the removal cannot be recorded.
    pub async fn detach(&self, _pod: &Id) -> Result<(), Error> {
        Err(Error::Closed)
    }

    /// After a restart of the daemon: keeps the network of `live` pods and removes everything else that is ours.
    ///
    /// # Errors
    /// When the kernel cannot be asked for its links or the table cannot be rebuilt.
    pub async fn recover(&self, _live: &HashSet<Id>) -> Result<Recovery, Error> {
        Err(Error::Closed)
    }

    /// How a pod is joined, if it is.
    pub fn attachment(&self, _pod: &Id) -> Option<Attachment> {
        None
    }

    /// Whether pods can be given a network now; if not, the reason for a person.
    ///
    /// # Errors
    /// The reason.
    pub fn status(&self) -> Result<(), String> {
        Ok(())
    }

    /// Takes the addresses of new pods from other subnets: `CIDR` or `CIDR,CIDR`, at most one of each family.
    ///
    /// Pods that have an address keep it. Remembered until the next reboot.
    ///
    /// # Errors
    /// When it does not parse or leaves no room for a pod.
    pub async fn set_pod_cidr(&self, _cidr: &str) -> Result<(), Error> {
        Err(Error::Closed)
    }

    /// What has passed through the links of a network namespace, loopback left out.
    ///
    /// Blocks for about a tenth of a millisecond.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn usage(_netns: &Path) -> Result<Vec<InterfaceUsage>, Error> {
        Ok(Vec::new())
    }
}
