//! How pod networks are made on this host.

use std::{net::Ipv4Addr, path::PathBuf};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use super::{Error, cni};

/// How pods are joined to the network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// Every pod has a point-to-point link and the host a route to it: no limit on the number of pods, no flooding.
    #[default]
    Routed,
    /// All pods are ports of one Linux bridge, at most 1,023.
    Bridge,
    /// Plugins of the Container Network Interface do it; no other setting than those of [`Config::cni`] matters then.
    Cni,
}

impl Driver {
    /// How the built-in network joins pods; `None` when plugins do it.
    pub(super) fn topology(self) -> Option<Topology> {
        match self {
            Self::Routed => Some(Topology::Routed),
            Self::Bridge => Some(Topology::Bridge),
            Self::Cni => None,
        }
    }
}

/// How the built-in network joins a pod's link to the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Topology {
    /// As [`Driver::Routed`] says.
    Routed,
    /// As [`Driver::Bridge`] says.
    Bridge,
}

/// Configuration of the network room.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where leases are kept; must not survive a reboot.
    pub run_dir: PathBuf,
    /// Where pod addresses come from: at most one IPv4 and one IPv6 subnet. A pod CIDR given later replaces them.
    pub subnets: Vec<IpNet>,
    /// How pods are joined to the host.
    pub driver: Driver,
    /// Name of the link that holds the gateway addresses, and is the bridge of [`Driver::Bridge`].
    pub device: String,
    /// Maximum transmission unit of pod links in bytes; `None` takes that of the default route's link.
    pub mtu: Option<u32>,
    /// Name of our nftables table. Two engines on one host need different names.
    pub table: String,
    /// Whether traffic that leaves the pod subnets gets an address of the host as its source.
    pub masquerade: bool,
    /// Destinations that pods are to reach with their own address although `masquerade` is on.
    pub unmasqueraded: Vec<IpNet>,
    /// Where plugins and their configuration are, for [`Driver::Cni`].
    pub cni: cni::Config,
}

impl Default for Config {
    fn default() -> Self {
        let v4 = Ipv4Net::new_assert(Ipv4Addr::new(10, 88, 0, 0), 16);
        let v6 = Ipv6Net::new_assert([0xfd00, 0x10, 0x88, 0, 0, 0, 0, 0].into(), 64);
        Self {
            run_dir: PathBuf::from("/run/berth/network"),
            subnets: vec![v4.into(), v6.into()],
            driver: Driver::Routed,
            device: "berth0".to_owned(),
            mtu: None,
            table: "berth".to_owned(),
            masquerade: true,
            unmasqueraded: Vec::new(),
            cni: cni::Config::default(),
        }
    }
}

impl Config {
    /// Checks what can be checked without the host.
    pub(super) fn validate(&self) -> Result<(), Error> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        // IFNAMSIZ counts the terminating NUL.
        if !(1..=15).contains(&self.device.len()) || !self.device.chars().all(plain) {
            return Err(Error::Config(format!("device {:?} is not a link name of 1 to 15 characters", self.device)));
        }
        if !(1..=64).contains(&self.table.len()) || !self.table.chars().all(plain) {
            return Err(Error::Config(format!("table {:?} is not a name of 1 to 64 characters", self.table)));
        }
        // IPv6 needs 1280 (RFC 8200 §5); the largest packet bounds it from above.
        if self.mtu.is_some_and(|mtu| !(1280..=65535).contains(&mtu)) {
            return Err(Error::Config("mtu is not between 1280 and 65535".to_owned()));
        }
        Ok(())
    }
}
