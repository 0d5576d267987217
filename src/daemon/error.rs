//! Why the daemon cannot start or had to stop.

use std::{io, net::SocketAddr, path::PathBuf};

use crate::{engine, image, monitor::client as monitor, network, runtime, streaming};

/// A failure of the daemon as a whole.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The settings file cannot be read.
    #[error("read settings {}", path.display())]
    ReadConfig {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The settings file is not as it should be.
    #[error("parse settings {}", path.display())]
    ParseConfig {
        /// The file.
        path: PathBuf,
        /// The line and what is wrong with it.
        #[source]
        source: toml::de::Error,
    },
    /// A `--set` that is not `key=value`.
    #[error("set {0:?}: not of the form key=value")]
    MalformedFlag(String),
    /// A flag that stands for no setting, or for one of another kind.
    #[error("set {key}: {problem}")]
    Override {
        /// The setting.
        key: String,
        /// What is wrong.
        problem: String,
    },
    /// A setting that makes no sense.
    #[error("setting {key} {problem}")]
    Setting {
        /// The setting.
        key: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// Another daemon has the state directory.
    #[error("another engine runs on the state directory {}", .0.display())]
    AlreadyRunning(PathBuf),
    /// Somebody else answers on the socket.
    #[error("socket {} is in use by another process", .0.display())]
    SocketInUse(PathBuf),
    /// Something that is no socket is in the socket's place.
    #[error("{} is there already and is no socket", .0.display())]
    NotASocket(PathBuf),
    /// A group of that name does not exist.
    #[error("setting socket.group: there is no group {0:?}")]
    NoGroup(String),
    /// A file, directory or socket could not be prepared.
    #[error("{operation} {}", path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A part of the process itself could not be set up.
    #[error("{0}")]
    Process(&'static str, #[source] io::Error),
    /// The spawner of monitors could not be started.
    #[error("start the spawner")]
    Spawner(#[source] monitor::Error),
    /// The host lacks something.
    #[error("examine the host")]
    Host(#[source] runtime::PlanError),
    /// Cgroups cannot be used.
    #[error("find the cgroup hierarchies")]
    Cgroup(#[source] runtime::cgroup::Error),
    /// The image store cannot be opened.
    #[error("open the image store")]
    Image(#[source] image::Error),
    /// The pod network cannot be set up.
    #[error("set up the pod network")]
    Network(#[source] network::Error),
    /// The engine cannot take up its state.
    #[error("recover the engine")]
    Engine(#[source] engine::Error),
    /// The streaming server cannot be started.
    #[error("start the streaming server")]
    Streaming(#[source] streaming::Error),
    /// The metrics endpoint cannot listen.
    #[error("listen for metrics on {address}")]
    MetricsAddress {
        /// The address.
        address: SocketAddr,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The descriptors for reflection are broken.
    #[error("prepare reflection")]
    Reflection(#[source] tonic_reflection::server::Error),
    /// Serving came to an end by itself.
    #[error("serve")]
    Serve(#[source] tonic::transport::Error),
}

impl Error {
    /// Wraps a failed file operation.
    pub(super) fn file(operation: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::File { operation, path: path.into(), source }
    }
}
