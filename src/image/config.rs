//! What an image says about how it is to be run, OCI image-spec "config.md" and its Docker forerunner.

use std::collections::{BTreeMap, BTreeSet};

/// The parts of an image's configuration that the engine acts upon or shows.
///
/// The bytes that were received are kept as they are; this is only a reading of them, in which unknown fields do not
/// matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageConfig {
    /// User to run as: a name or a number, optionally with `:group`; empty for root.
    pub user: String,
    /// Environment as `NAME=value`.
    pub env: Vec<String>,
    /// First words of the command line.
    pub entrypoint: Vec<String>,
    /// Last words of the command line unless the caller gives others.
    pub cmd: Vec<String>,
    /// Working directory; empty for the root.
    pub working_dir: String,
    /// Signal that asks the container to stop, by name or number.
    pub stop_signal: Option<String>,
    /// Paths that hold data.
    pub volumes: BTreeSet<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Ports the image means to serve, as `80/tcp`.
    pub exposed_ports: BTreeSet<String>,
    /// Processor architecture by Go's names: `amd64`, `arm64`.
    pub architecture: String,
    /// Operating system.
    pub os: String,
}
