use std::{io, path::PathBuf, sync::Arc};

use crate::{
    error::{Classify, Kind, io_kind},
    image,
    monitor::client as monitor,
    network,
    runtime::{self, LaunchError, cgroup, checkpoint},
    state,
    types::{Id, Signal},
};

/// Why an operation on a pod or a container failed. Cheap to clone: joined operations hand the same failure to all.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The request cannot be meant.
    #[error("invalid {what}: {why}")]
    Invalid {
        /// Which part of the request.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// No pod has this id.
    #[error("pod {0:?} not found")]
    NoPod(String),
    /// No container has this id.
    #[error("container {0:?} not found")]
    NoContainer(String),
    /// More than one object has an id that begins like this.
    #[error("id {0:?} is ambiguous")]
    Ambiguous(String),
    /// Another pod or container has that name.
    #[error("name {name:?} is in use by {holder}")]
    NameTaken {
        /// The name.
        name: String,
        /// Who has it.
        holder: Id,
    },
    /// The pod is not ready.
    #[error("pod {0} is not ready")]
    PodNotReady(Id),
    /// The container is not in the state that the operation needs.
    #[error("container {container} is {state}, not {needed}")]
    WrongState {
        /// The container.
        container: Id,
        /// Its state.
        state: &'static str,
        /// The state that is needed.
        needed: &'static str,
    },
    /// The container is being removed.
    #[error("container {0} is being removed")]
    Removing(Id),
    /// The image is not on this host.
    #[error("image {0:?} not found on this host; pull it first")]
    NoImage(String),
    /// An image volume has no such path.
    #[error("mount image {image:?} at {path:?}: no path {sub_path:?} in the image")]
    NoSubPath {
        /// The image.
        image: String,
        /// Where it was to be mounted.
        path: String,
        /// What is missing in it.
        sub_path: String,
    },
    /// An image volume cannot be looked into.
    #[error("look for {sub_path:?} in image volume {image:?}")]
    ImageVolume {
        /// The image.
        image: String,
        /// What was looked for.
        sub_path: String,
        /// What failed.
        #[source]
        source: LaunchError,
    },
    /// The process did not end even after SIGKILL.
    #[error("container {container} did not end {seconds} s after {signal}; it may be stuck in the kernel")]
    Unkillable {
        /// The container.
        container: Id,
        /// How long was waited, s.
        seconds: u64,
        /// The last signal sent.
        signal: Signal,
    },
    /// A command in a container ran longer than the caller allowed and was killed.
    #[error("command {command:?} in container {container} timed out after {seconds} s")]
    ExecTimeout {
        /// The container.
        container: Id,
        /// The command.
        command: String,
        /// How long it was given, s.
        seconds: u64,
    },
    /// A checkpoint takes longer than the caller waits; it goes on.
    #[error("checkpoint of container {container} is not done after {seconds} s")]
    CheckpointTimeout {
        /// The container.
        container: Id,
        /// How long was waited, s.
        seconds: u64,
    },
    /// A checkpoint cannot be made or used.
    #[error("checkpoint container {container}")]
    Checkpoint {
        /// The container.
        container: Id,
        /// Why.
        #[source]
        source: Arc<checkpoint::Error>,
    },
    /// Planning it found something that cannot be.
    #[error("plan {object}")]
    Plan {
        /// What was planned.
        object: String,
        /// What is wrong.
        #[source]
        source: Arc<runtime::PlanError>,
    },
    /// The monitor could not do it.
    #[error("{operation} {object}")]
    Monitor {
        /// What was tried.
        operation: &'static str,
        /// On what.
        object: String,
        /// What the monitor said.
        #[source]
        source: Arc<monitor::Error>,
    },
    /// The network could not do it.
    #[error("{operation} network of pod {pod}")]
    Network {
        /// What was tried.
        operation: &'static str,
        /// For which pod.
        pod: Id,
        /// What the network said.
        #[source]
        source: Arc<network::Error>,
    },
    /// The image store could not do it.
    #[error("{operation} {object}")]
    Image {
        /// What was tried.
        operation: &'static str,
        /// On what.
        object: String,
        /// What the store said.
        #[source]
        source: Arc<image::Error>,
    },
    /// A cgroup could not be used.
    #[error("{operation} cgroup {path:?}")]
    Cgroup {
        /// What was tried.
        operation: &'static str,
        /// On which cgroup.
        path: String,
        /// What was said.
        #[source]
        source: Arc<cgroup::Error>,
    },
    /// The state could not be read or written.
    #[error("{operation} state")]
    State {
        /// What was tried.
        operation: &'static str,
        /// What the database said.
        #[source]
        source: Arc<state::Error>,
    },
    /// What a pod keeps mounted could not be unmounted.
    #[error("let go of the namespaces pinned in {dir:?}")]
    Unpin {
        /// The pod's directory.
        dir: PathBuf,
        /// What failed.
        #[source]
        source: LaunchError,
    },
    /// A file operation failed.
    #[error("{operation} {path:?}")]
    File {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: Arc<io::Error>,
    },
    /// A pipe could not be made or read.
    #[error("{operation} a pipe")]
    Pipe {
        /// What was tried.
        operation: &'static str,
        /// What the kernel said.
        #[source]
        source: Arc<io::Error>,
    },
    /// The kernel gave no random bytes.
    #[error("read random bytes for an id")]
    Random,
    /// The operation's own code failed; what it had begun is cleaned up at the next start.
    #[error("{0} ended unexpectedly; see the log")]
    Panicked(&'static str),
}

impl Error {
    pub(super) fn file(operation: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::File { operation, path: path.into(), source: Arc::new(source) }
    }

    pub(super) fn monitor(operation: &'static str, object: impl Into<String>, source: monitor::Error) -> Self {
        Self::Monitor { operation, object: object.into(), source: Arc::new(source) }
    }

    pub(super) fn checkpoint(container: &Id, source: checkpoint::Error) -> Self {
        Self::Checkpoint { container: container.clone(), source: Arc::new(source) }
    }

    pub(super) fn image(operation: &'static str, object: impl Into<String>, source: image::Error) -> Self {
        Self::Image { operation, object: object.into(), source: Arc::new(source) }
    }
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::Invalid { .. } | Self::Ambiguous(_) | Self::NoSubPath { .. } => Kind::InvalidArgument,
            Self::NoPod(_) | Self::NoContainer(_) | Self::NoImage(_) => Kind::NotFound,
            Self::NameTaken { .. } => Kind::AlreadyExists,
            Self::PodNotReady(_) | Self::WrongState { .. } | Self::Removing(_) => Kind::FailedPrecondition,
            Self::Unkillable { .. } | Self::ExecTimeout { .. } | Self::CheckpointTimeout { .. } => {
                Kind::DeadlineExceeded
            }
            Self::Checkpoint { source, .. } => source.kind(),
            Self::Plan { source, .. } => source.kind(),
            Self::Monitor { source, .. } => source.kind(),
            Self::Network { source, .. } => source.kind(),
            Self::Image { source, .. } => source.kind(),
            Self::Cgroup { source, .. } => source.kind(),
            Self::State { source, .. } => source.kind(),
            Self::File { source, .. } | Self::Pipe { source, .. } => io_kind(source),
            Self::Unpin { source, .. } | Self::ImageVolume { source, .. } => source.kind(),
            Self::Random | Self::Panicked(_) => Kind::Internal,
        }
    }
}
