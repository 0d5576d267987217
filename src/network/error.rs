//! What can go wrong with the network of a pod.

use std::{io, path::PathBuf};

use ipnet::IpNet;

use super::cni;
use crate::{
    error::{Classify, Kind, io_kind},
    types::{Id, Protocol},
};

/// A failure of the network room: the operation and the thing it was done to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration names something that cannot be.
    #[error("network configuration: {0}")]
    Config(String),
    /// A pod CIDR that does not parse or has no room.
    #[error("pod cidr {cidr:?}: {reason}")]
    PodCidr {
        /// As it was given.
        cidr: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A port mapping that cannot be.
    #[error("port mapping {host_port}/{protocol:?}: {reason}")]
    Port {
        /// Port of the host.
        host_port: u16,
        /// Transport.
        protocol: Protocol,
        /// What is wrong with it.
        reason: String,
    },
    /// Another pod has the host port.
    #[error("host port {port}/{protocol:?} is taken by pod {holder:?}")]
    PortTaken {
        /// Port of the host.
        port: u16,
        /// Transport.
        protocol: Protocol,
        /// Whose it is.
        holder: Id,
    },
    /// Every address of a subnet is leased.
    #[error("subnet {0} has no free address")]
    PoolEmpty(IpNet),
    /// The bridge has as many ports as the kernel allows.
    #[error("bridge {0} has its most, 1023 ports")]
    BridgeFull(String),
    /// The pod is being removed; its network cannot be set up again before that has ended.
    #[error("the network of pod {0:?} is being removed")]
    Releasing(Id),
    /// The network namespace cannot be entered.
    #[error("enter network namespace {}", path.display())]
    Netns {
        /// Where it is pinned.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A request to the kernel about links, addresses or routes failed.
    #[error("{operation}")]
    Link {
        /// What was to be done, with its object.
        operation: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A transaction of packet filter rules failed.
    #[error("{operation} of nftables table {table}")]
    Firewall {
        /// What was to be done.
        operation: &'static str,
        /// The table.
        table: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file of the run directory or of `/proc/sys` cannot be read or written.
    #[error("{operation} {}", path.display())]
    File {
        /// What was to be done.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The kernel or the process lacks something that pod networks need.
    #[error("this host lacks {what}")]
    Lacks {
        /// What it lacks, for a person.
        what: &'static str,
        /// How it showed.
        #[source]
        source: io::Error,
    },
    /// A CNI plugin or its configuration is the trouble.
    #[error(transparent)]
    Cni(#[from] cni::Error),
    /// The network has been closed.
    #[error("the network is shut down")]
    Closed,
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::Config(_) | Self::PodCidr { .. } | Self::Port { .. } => Kind::InvalidArgument,
            Self::PortTaken { .. } | Self::Releasing(_) => Kind::FailedPrecondition,
            Self::PoolEmpty(_) | Self::BridgeFull(_) => Kind::ResourceExhausted,
            Self::Lacks { .. } | Self::Closed => Kind::Unavailable,
            Self::Cni(error) => error.kind(),
            Self::Netns { source, .. } if source.kind() == io::ErrorKind::NotFound => Kind::NotFound,
            Self::Netns { source, .. }
            | Self::Link { source, .. }
            | Self::Firewall { source, .. }
            | Self::File { source, .. } => io_kind(source),
        }
    }
}
