//! The settings as they are written in a file; `default.toml` describes each.

use std::{fmt, net::SocketAddr, path::PathBuf, str::FromStr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{network, runtime::cgroup, types::Size};

/// All settings of the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    /// Directory of what survives a reboot.
    pub root: PathBuf,
    /// Directory of what does not.
    pub state: PathBuf,
    /// Where callers come in.
    pub socket: Socket,
    /// What is logged and how.
    pub log: Log,
    /// Where metrics are served.
    pub metrics: Metrics,
    /// How cgroups are made.
    pub cgroup: Cgroup,
    /// How pods are joined to the network.
    pub network: Network,
    /// How images are pulled and kept.
    pub image: Image,
    /// What containers may use of the host's disk.
    pub containers: Containers,
    /// How pods may be run.
    pub runtime: Runtime,
    /// Where exec, attach and port-forward sessions are served.
    pub streaming: Streaming,
    /// How the daemon stops.
    pub shutdown: Shutdown,
}

/// Where callers come in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Socket {
    /// Path of the socket; empty for `berth.sock` in the state directory.
    pub path: PathBuf,
    /// Group whose members may use it, by name or number; empty for root alone.
    pub group: String,
}

/// What is logged and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Log {
    /// A level, or a list of them by module.
    pub level: String,
    /// For whom.
    pub format: LogFormat,
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For programs: one JSON object a line.
    Json,
}

/// Where metrics are served.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Metrics {
    /// Address and port; empty for none.
    pub address: Optional<SocketAddr>,
}

/// How cgroups are made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Cgroup {
    /// Who makes them.
    pub driver: cgroup::Driver,
    /// Where pods go that name no parent.
    pub root: String,
}

/// How pods are joined to the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Network {
    /// By which kind of link.
    pub driver: network::Driver,
    /// Where addresses come from.
    pub subnets: Vec<IpNet>,
    /// Link that holds the gateway addresses.
    pub device: String,
    /// Largest packet, bytes; 0 for that of the default route's link.
    pub mtu: u32,
    /// Name of the nftables table.
    pub table: String,
    /// Whether pods' traffic to the outside gets the host's address.
    pub masquerade: bool,
    /// Where it does not although `masquerade` is on.
    pub unmasqueraded: Vec<IpNet>,
    /// Where plugins are, for driver "cni".
    pub cni: Cni,
}

/// Where CNI plugins and their configuration are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Cni {
    /// Directory of network configurations.
    pub conf_dir: PathBuf,
    /// Directories of plugins.
    pub bin_dirs: Vec<PathBuf>,
    /// How long one plugin may run, s.
    pub timeout: u64,
}

/// How images are pulled and kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Image {
    /// Directories of registry configuration; the first one that exists is used.
    pub certs_dirs: Vec<PathBuf>,
    /// Files with credentials for pulls that bring none.
    pub credentials: Vec<PathBuf>,
    /// Keep compressed layers.
    pub keep_blobs: bool,
    /// Images that must not be collected.
    pub pinned: Vec<String>,
    /// Policy of signatures; empty for none.
    pub signature_policy: PathBuf,
}

/// What containers may use of the host's disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Containers {
    /// Size of the writable layer of a container that asks for none; empty for no limit.
    pub writable_layer_limit: Optional<Size>,
    /// Largest size that a container may ask for; empty for the limit above.
    pub writable_layer_maximum: Optional<Size>,
}

/// How pods may be run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Runtime {
    /// Names of handlers beside the empty one.
    pub handlers: Vec<String>,
    /// Directories of device specifications.
    pub cdi_spec_dirs: Vec<PathBuf>,
    /// Whether a container may be created from a checkpoint.
    pub restore_checkpoints: bool,
}

/// Where exec, attach and port-forward sessions are served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Streaming {
    /// Address and port; port 0 for any.
    pub address: SocketAddr,
}

/// How the daemon stops.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Shutdown {
    /// How long RPCs under way may take to end, s.
    pub grace: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            root: PathBuf::from("/var/lib/berth"),
            state: PathBuf::from("/run/berth"),
            socket: Socket::default(),
            log: Log::default(),
            metrics: Metrics::default(),
            cgroup: Cgroup::default(),
            network: Network::default(),
            image: Image::default(),
            containers: Containers::default(),
            runtime: Runtime::default(),
            streaming: Streaming::default(),
            shutdown: Shutdown::default(),
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Text }
    }
}

impl Default for Cgroup {
    fn default() -> Self {
        Self { driver: cgroup::Driver::default(), root: "/berth".to_owned() }
    }
}

impl Default for Network {
    fn default() -> Self {
        let network::Config { driver, subnets, device, mtu, table, masquerade, unmasqueraded, .. } =
            network::Config::default();
        let (mtu, cni) = (mtu.unwrap_or_default(), Cni::default());
        Self { driver, subnets, device, mtu, table, masquerade, unmasqueraded, cni }
    }
}

impl Default for Cni {
    fn default() -> Self {
        let network::CniConfig { conf_dir, bin_dirs, timeout, .. } = network::CniConfig::default();
        Self { conf_dir, bin_dirs, timeout: timeout.as_secs() }
    }
}

impl Default for Image {
    fn default() -> Self {
        Self {
            certs_dirs: ["/etc/berth/certs.d", "/etc/containerd/certs.d"].map(PathBuf::from).to_vec(),
            credentials: Vec::new(),
            keep_blobs: false,
            pinned: Vec::new(),
            signature_policy: PathBuf::new(),
        }
    }
}

impl Default for Runtime {
    fn default() -> Self {
        Self {
            handlers: vec!["berth".to_owned()],
            cdi_spec_dirs: ["/etc/cdi", "/var/run/cdi"].map(PathBuf::from).to_vec(),
            restore_checkpoints: false,
        }
    }
}

impl Default for Streaming {
    fn default() -> Self {
        Self { address: SocketAddr::from(([127, 0, 0, 1], 0)) }
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { grace: 20 }
    }
}

/// A value that an empty string leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    try_from = "String",
    into = "String",
    bound(deserialize = "T: FromStr<Err: fmt::Display>", serialize = "T: fmt::Display + Clone")
)]
pub(crate) struct Optional<T>(pub Option<T>);

impl<T> Default for Optional<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: FromStr> TryFrom<String> for Optional<T> {
    type Error = T::Err;

    fn try_from(text: String) -> Result<Self, T::Err> {
        if text.is_empty() { Ok(Self(None)) } else { text.parse().map(|value| Self(Some(value))) }
    }
}

impl<T: fmt::Display> From<Optional<T>> for String {
    fn from(value: Optional<T>) -> Self {
        value.0.map(|value| value.to_string()).unwrap_or_default()
    }
}
