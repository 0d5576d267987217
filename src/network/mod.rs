//! The network of pods: links, addresses, routes, masquerade and host ports; or the CNI plugins that make them instead.
//!
//! - **Owns:** pod addresses and their leases, the host's ends of pod links, one nftables table, host ports; with CNI,
//!   what plugins have been asked to make.
//! - **Never:** makes or pins namespaces (it is given their paths), knows what a pod contains; the built-in network runs
//!   no program.
//! - **Runs in:** the daemon; link work on two threads of its own, because the kernel's global link lock can hold a
//!   sender for milliseconds. The host's namespace is that of the thread which calls [`Network::open`].
//! - **Start reading at:** [`Network`], then `plan.rs` for the built-in network, `cni/mod.rs` for plugins.

mod attach;
mod builtin;
mod cni;
mod config;
mod detach;
mod dial;
mod error;
mod family;
mod firewall;
mod host;
mod ipam;
mod lease;
mod link;
mod netns;
mod plan;
mod port;
mod recover;
mod teardown;
mod usage;
mod worker;

use std::{collections::HashSet, net::IpAddr, path::Path, sync::Arc};

use builtin::BuiltIn;
use cni::Cni;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use cni::fuzz;
pub use cni::{Config as CniConfig, Error as CniError};
pub use config::{Config, Driver};
pub use error::Error;

use crate::types::{Id, PodConfig};

/// How a pod is joined to the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// The pod's addresses, IPv4 first.
    pub ips: Vec<IpAddr>,
    /// Name of the link in the pod's namespace.
    pub interface: String,
    /// Name of the link's other end, in the host's namespace; empty when a plugin made it.
    pub host_interface: String,
    /// Hardware address of the pod's link; empty when it has none.
    pub mac: String,
}

/// What has passed through one link of a namespace since it was made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InterfaceUsage {
    /// Name of the link.
    pub name: String,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets received.
    pub rx_packets: u64,
    /// Packets that could not be received.
    pub rx_errors: u64,
    /// Packets received for which there was no room.
    pub rx_dropped: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Packets that could not be sent.
    pub tx_errors: u64,
    /// Packets for the sending of which there was no room.
    pub tx_dropped: u64,
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
pub struct Network {
    backend: Backend,
}

/// Who makes pods' links.
#[derive(Debug)]
enum Backend {
    /// This room.
    BuiltIn(BuiltIn),
    /// CNI plugins.
    Cni(Cni),
}

impl Network {
    /// The built-in network prepares the host: forwarding, the gateway's link and the nftables table, with what the
    /// leases say. With CNI nothing is done yet.
    ///
    /// Blocks for some milliseconds. The calling thread's network namespace becomes the host's.
    ///
    /// # Errors
    /// Says what the host lacks: permission, kernel modules, a usable subnet.
    pub fn open(config: Config) -> Result<Arc<Self>, Error> {
        config.validate()?;
        let backend = match config.driver.topology() {
            Some(topology) => Backend::BuiltIn(BuiltIn::open(config, topology)?),
            None => Backend::Cni(Cni::open(config.cni)?),
        };
        Ok(Arc::new(Self { backend }))
    }

    /// Gives a pod its link, addresses, routes and host ports; the same answer again for a pod that has them. Of the
    /// pod's configuration, the built-in network looks at the host ports alone.
    ///
    /// Goes on to its end when the caller goes away.
    ///
    /// # Errors
    /// Nothing is left behind. A taken host port and an empty subnet are found before anything is done.
    pub async fn attach(&self, pod: &Id, netns: &Path, config: &PodConfig) -> Result<Attachment, Error> {
        match &self.backend {
            Backend::BuiltIn(network) => network.attach(pod, netns, &config.ports).await,
            Backend::Cni(network) => network.attach(pod, netns, config).await,
        }
    }

    /// Takes a pod off the network; no error if it is not on it.
    ///
    /// With the built-in network, host ports close at once; the link goes in the background, and its addresses are free
    /// only after that. With CNI the plugins have done their work before this ends.
    ///
    /// # Errors
    /// When the removal cannot be recorded, the host ports cannot be closed or a plugin fails; calling again tries again.
    pub async fn detach(&self, pod: &Id) -> Result<(), Error> {
        match &self.backend {
            Backend::BuiltIn(network) => network.detach(pod).await,
            Backend::Cni(network) => network.detach(pod).await,
        }
    }

    /// After a restart of the daemon: keeps the network of `live` pods and removes everything else that is ours. Plugins
    /// do that in the background.
    ///
    /// # Errors
    /// When the kernel cannot be asked for its links or the table cannot be changed.
    pub async fn recover(&self, live: &HashSet<Id>) -> Result<Recovery, Error> {
        match &self.backend {
            Backend::BuiltIn(network) => network.recover(live).await,
            Backend::Cni(network) => network.recover(live).await,
        }
    }

    /// How a pod is joined, if it is.
    #[cfg(test)]
    fn attachment(&self, pod: &Id) -> Option<Attachment> {
        match &self.backend {
            Backend::BuiltIn(network) => network.attachment(pod),
            Backend::Cni(network) => network.attachment(pod),
        }
    }

    /// Whether pods can be given a network now. The built-in network has its table looked for, too, and made again if it
    /// is gone; with CNI the configuration is read anew.
    ///
    /// # Errors
    /// The reason, for a person.
    pub async fn status(&self) -> Result<(), String> {
        match &self.backend {
            Backend::BuiltIn(network) => network.status(),
            Backend::Cni(network) => network.status().await.map_err(|error| crate::error::chain(&error)),
        }
    }

    /// Takes the addresses of new pods from other subnets: `CIDR` or `CIDR,CIDR`, at most one of each family.
    ///
    /// Pods that have an address keep it. Remembered until the next reboot. With CNI it changes nothing: whoever wrote
    /// the network configuration has chosen the addresses.
    ///
    /// # Errors
    /// When it does not parse or leaves no room for a pod.
    pub async fn set_pod_cidr(&self, cidr: &str) -> Result<(), Error> {
        match &self.backend {
            Backend::BuiltIn(network) => network.set_pod_cidr(cidr).await,
            Backend::Cni(_) => {
                tracing::debug!(cidr, "the pod CIDR is the network configuration's to know");
                Ok(())
            }
        }
    }

    /// Removes the gateway's link and the table if no pod has a network any more, after waiting for the last links to
    /// go. To be called when the daemon stops for good; with pods left it changes nothing.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn close(&self) -> Result<(), Error> {
        match &self.backend {
            Backend::BuiltIn(network) => network.close().await,
            Backend::Cni(network) => {
                network.close().await;
                Ok(())
            }
        }
    }

    /// What has passed through the links of a network namespace, loopback left out.
    ///
    /// Blocks for about a tenth of a millisecond.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn usage(netns: &Path) -> Result<Vec<InterfaceUsage>, Error> {
        usage::read(netns)
    }
}

#[cfg(test)]
mod tests;
