//! Host ports.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// A port of the host that leads to a port of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PortMapping {
    /// Transport.
    pub protocol: Protocol,
    /// Port in the pod, 1–65535.
    pub container_port: u16,
    /// Port on the host; 0 means that none is wanted.
    pub host_port: u16,
    /// The host address to listen on; `None` for all.
    pub host_ip: Option<IpAddr>,
}

/// Transport of a host port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Protocol {
    /// Transmission Control Protocol.
    Tcp,
    /// User Datagram Protocol.
    Udp,
    /// Stream Control Transmission Protocol.
    Sctp,
}

impl Protocol {
    /// The number in an IP header.
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}
