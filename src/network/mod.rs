//! The network of pods: links, addresses, routes, masquerade and host ports.
//!
//! - **Owns:** pod addresses and their leases, the host's ends of pod links, one nftables table, host ports.
//! - **Never:** makes or pins namespaces (it is given their paths), knows what a pod contains, runs a program.
//! - **Runs in:** the daemon; link work on two threads of its own, because the kernel's global link lock can hold a
//!   sender for milliseconds. The host's namespace is that of the thread which calls [`Network::open`].
//! - **Start reading at:** [`Network`], then `plan.rs`.

mod attach;
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

use ipnet::IpNet;
use tokio::sync::{mpsc, oneshot};

pub use config::{Config, Driver};
pub use error::Error;
use lease::Phase;
use worker::{Job, Shared};

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
    shared: Arc<Shared>,
    jobs: mpsc::UnboundedSender<Job>,
}

impl Network {
    /// Prepares the host: forwarding, the gateway's link and the nftables table, with what the leases say.
    ///
    /// Blocks for some milliseconds. The calling thread's network namespace becomes the host's.
    ///
    /// # Errors
    /// Says what the host lacks: permission, kernel modules, a usable subnet.
    pub fn open(config: Config) -> Result<Arc<Self>, Error> {
        config.validate()?;
        let (shared, jobs) = worker::start(config)?;
        Ok(Arc::new(Self { shared, jobs }))
    }

    /// Gives a pod its link, addresses, routes and host ports; the same answer again for a pod that has them.
    ///
    /// Goes on to its end when the caller goes away.
    ///
    /// # Errors
    /// Nothing is left behind. A taken host port and an empty subnet are found before anything is done.
    pub async fn attach(&self, pod: &Id, netns: &Path, ports: &[PortMapping]) -> Result<Attachment, Error> {
        let (pod, netns, ports) = (pod.clone(), netns.to_owned(), ports.to_vec());
        self.ask(|answer| Job::Attach { pod, netns, ports, answer }).await
    }

    /// Takes a pod off the network; no error if it is not on it.
    ///
    /// Host ports close at once; the link goes in the background, and its addresses are free only after that.
    ///
    /// # Errors
    /// When the removal cannot be recorded or the host ports cannot be closed; calling again tries again.
    pub async fn detach(&self, pod: &Id) -> Result<(), Error> {
        let pod = pod.clone();
        self.ask(|answer| Job::Detach { pod, answer }).await
    }

    /// After a restart of the daemon: keeps the network of `live` pods and removes everything else that is ours.
    ///
    /// # Errors
    /// When the kernel cannot be asked for its links or the table cannot be changed.
    pub async fn recover(&self, live: &HashSet<Id>) -> Result<Recovery, Error> {
        let live = live.clone();
        self.ask(|answer| Job::Recover { live, answer }).await
    }

    /// How a pod is joined, if it is.
    pub fn attachment(&self, pod: &Id) -> Option<Attachment> {
        let book = self.shared.book();
        book.get(pod).filter(|lease| lease.phase == Phase::Attached).map(Attachment::of)
    }

    /// Whether pods can be given a network now. Also has the table looked for, and made again if it is gone.
    ///
    /// # Errors
    /// The reason, for a person.
    pub fn status(&self) -> Result<(), String> {
        self.jobs.send(Job::Check).map_err(|_| Error::Closed.to_string())?;
        self.shared.condition().clone().map_or(Ok(()), Err)
    }

    /// Takes the addresses of new pods from other subnets: `CIDR` or `CIDR,CIDR`, at most one of each family.
    ///
    /// Pods that have an address keep it. Remembered until the next reboot.
    ///
    /// # Errors
    /// When it does not parse or leaves no room for a pod.
    pub async fn set_pod_cidr(&self, cidr: &str) -> Result<(), Error> {
        let subnets = parse_subnets(cidr)?;
        self.ask(|answer| Job::SetSubnets { subnets, answer }).await
    }

    /// Removes the gateway's link and the table if no pod has a network any more, after waiting for the last links to
    /// go. To be called when the daemon stops for good; with pods left it changes nothing.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn close(&self) -> Result<(), Error> {
        self.ask(|answer| Job::Close { answer }).await
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

    async fn ask<T>(&self, job: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Job) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        self.jobs.send(job(answer)).map_err(|_| Error::Closed)?;
        answered.await.unwrap_or(Err(Error::Closed))
    }
}

fn parse_subnets(cidr: &str) -> Result<Vec<IpNet>, Error> {
    let parse = |part: &str| {
        let refuse =
            |reason: ipnet::AddrParseError| Error::PodCidr { cidr: cidr.to_owned(), reason: reason.to_string() };
        part.trim().parse().map_err(refuse)
    };
    cidr.split(',').map(parse).collect()
}

#[cfg(test)]
mod tests;
