//! Errors of plans and launches.

use std::{fmt, io, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{cdi, cgroup, lsm, seccomp};
use crate::error::{Classify, Kind, io_kind};

/// Why something cannot be planned.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A fact about the host cannot be found out.
    #[error("look at {what}")]
    Host {
        /// The file or fact.
        what: String,
        /// Cause.
        source: io::Error,
    },
    /// Cgroups.
    #[error("plan the cgroup")]
    Cgroup(#[source] cgroup::Error),
    /// A limit makes no sense.
    #[error("invalid limit")]
    Limit(#[from] cgroup::InvalidLimit),
    /// The seccomp profile.
    #[error("plan the seccomp filter")]
    Seccomp(#[from] seccomp::Error),
    /// The security module's label.
    #[error("plan the security label")]
    Label(#[from] lsm::Error),
    /// A key that is no kernel parameter, or a value with line breaks.
    #[error("invalid sysctl {0:?}")]
    InvalidSysctl(String),
    /// A kernel parameter that the pod has no own instance of.
    #[error("sysctl {0:?} does not belong to a namespace of the pod's own")]
    SysctlNotNamespaced(String),
    /// Not a host name.
    #[error("invalid host name {0:?}")]
    InvalidHostname(String),
    /// An id map or its use.
    #[error("invalid user namespace: {0}")]
    InvalidIdMap(&'static str),
    /// A path is not absolute or has `..` in it.
    #[error("invalid {what} path {path:?}: it must be absolute and without \"..\"")]
    InvalidPath {
        /// What the path is for.
        what: &'static str,
        /// The path, cut short.
        path: String,
    },
    /// A mount contradicts itself.
    #[error("invalid mount on {target:?}: {why}")]
    InvalidMount {
        /// Where.
        target: String,
        /// What is wrong.
        why: &'static str,
    },
    /// A mount with an id map other than the pod's.
    #[error("mount on {0:?} has an id map that is not its pod's")]
    IdMappedMount(String),
    /// A capability that no kernel knows.
    #[error("unknown capability {0:?}")]
    UnknownCapability(String),
    /// `run_as_group` alone.
    #[error("run_as_group is set without run_as_user or run_as_username")]
    GroupWithoutUser,
    /// A user or group that is neither an id nor a name.
    #[error("invalid user or group {0:?}")]
    InvalidUser(String),
    /// Too many supplemental groups.
    #[error("too many supplemental groups: {0}")]
    TooManyGroups(usize),
    /// Nothing to execute.
    #[error("no command specified: neither the container nor its image names one")]
    NoCommand,
    /// A NUL byte in an argument or a variable.
    #[error("NUL byte in {0:?}")]
    NulByte(String),
    /// Out of range.
    #[error("oom_score_adj {0} is not within -1000 and 1000")]
    OomScoreAdj(i64),
    /// A root file system without layers.
    #[error("the image has no layers")]
    NoLayers,
    /// A device that is named in the Container Device Interface's way.
    #[error("plan the devices")]
    Cdi(#[from] cdi::Error),
    /// A requested device is none.
    #[error("{} is not a device", .0.display())]
    NotADevice(PathBuf),
    /// A directory with too many devices.
    #[error("too many devices below {}", .0.display())]
    TooManyDevices(PathBuf),
    /// Other letters than `r`, `w` and `m`.
    #[error("invalid device permissions {0:?}")]
    InvalidDevicePermissions(String),
    /// The container wants the pod's PID namespace and the pod has none.
    #[error("the pod has no PID namespace for its containers to share")]
    NoSharedPid,
    /// The container whose PID namespace is wanted does not run.
    #[error("target container {0:?} is not running")]
    NoTarget(String),
}

impl Classify for PlanError {
    fn kind(&self) -> Kind {
        match self {
            Self::Host { source, .. } if source.kind() == io::ErrorKind::NotFound => Kind::InvalidArgument,
            Self::Host { source, .. } => io_kind(source),
            Self::Cgroup(error) => error.kind(),
            Self::Seccomp(error) => error.kind(),
            Self::Label(error) => error.kind(),
            Self::NoTarget(_) | Self::NoSharedPid => Kind::FailedPrecondition,
            Self::Cdi(error) => error.kind(),
            Self::NoLayers => Kind::DataLoss,
            _ => Kind::InvalidArgument,
        }
    }
}

/// A step of a launch, as errors name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Step {
    /// Making the cgroup or going into it.
    Cgroup,
    /// Making the process.
    Clone,
    /// Talking to the new process.
    Protocol,
    /// Making or entering namespaces.
    Namespace,
    /// Writing id maps.
    IdMap,
    /// Keeping namespaces by mounts.
    Pin,
    /// Setting the host name.
    Hostname,
    /// Bringing the loopback interface up.
    Loopback,
    /// Writing a kernel parameter.
    Sysctl,
    /// Mounting the root file system.
    Rootfs,
    /// A mount.
    Mount,
    /// A device node.
    Device,
    /// The terminal.
    Console,
    /// Standard input, output and error.
    Stdio,
    /// Looking the user up.
    Identity,
    /// Becoming the user.
    Credentials,
    /// Masked and read-only paths.
    Mask,
    /// The working directory.
    WorkingDirectory,
    /// `oom_score_adj`.
    OomScore,
    /// The session keyring.
    Keyring,
    /// Capabilities.
    Capabilities,
    /// `no_new_privs` and the system call filter.
    Seccomp,
    /// The security module's label.
    Label,
    /// Finding the program.
    Lookup,
    /// Executing the program.
    Execute,
    /// Running a program of the host that a device wants to be run.
    Hook,
    /// Making processes again from a checkpoint.
    Restore,
    /// Waiting for all of it.
    Deadline,
}

impl Step {
    const fn name(self) -> &'static str {
        match self {
            Self::Cgroup => "cgroup",
            Self::Clone => "clone",
            Self::Protocol => "launch",
            Self::Namespace => "namespace",
            Self::IdMap => "write id map",
            Self::Pin => "pin namespace",
            Self::Hostname => "set host name",
            Self::Loopback => "bring up",
            Self::Sysctl => "set sysctl",
            Self::Rootfs => "mount root file system",
            Self::Mount => "mount",
            Self::Device => "make device",
            Self::Console => "set up terminal",
            Self::Stdio => "set up stdio",
            Self::Identity => "look up user",
            Self::Credentials => "become user",
            Self::Mask => "mask",
            Self::WorkingDirectory => "change to working directory",
            Self::OomScore => "set oom_score_adj",
            Self::Keyring => "join session keyring",
            Self::Capabilities => "set capabilities",
            Self::Seccomp => "install seccomp filter",
            Self::Label => "set security label",
            Self::Lookup | Self::Execute => "exec",
            Self::Hook => "hook",
            Self::Restore => "restore from checkpoint:",
            Self::Deadline => "launch",
        }
    }
}

/// Why a launch failed; it crosses two process borders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchError {
    /// Where.
    pub step: Step,
    /// On what, or in full words what is wrong.
    pub what: String,
    /// The failed system call's `errno`.
    #[serde(default)]
    pub errno: Option<i32>,
}

impl LaunchError {
    /// An error without a failed system call.
    pub(super) fn new(step: Step, what: impl Into<String>) -> Self {
        Self { step, what: what.into(), errno: None }
    }

    /// A failed system call.
    pub(super) fn os(step: Step, what: impl Into<String>, errno: i32) -> Self {
        Self { step, what: what.into(), errno: Some(errno) }
    }
}

/// Shows `mount /proc: operation not permitted`.
impl fmt::Display for LaunchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.step.name())?;
        if !self.what.is_empty() {
            // A program that was looked for and not found is worded as people know it: `exec: "foo": …`.
            f.write_str(if self.step == Step::Lookup { ": " } else { " " })?;
            f.write_str(&self.what)?;
        }
        match self.errno {
            Some(errno) => write!(f, ": {}", error_text(errno)),
            None => Ok(()),
        }
    }
}

/// `operation not permitted` and the like.
pub(super) fn error_text(errno: i32) -> String {
    let mut rest = nix::errno::Errno::from_raw(errno).desc().chars();
    let first = rest.next().map(|c| c.to_ascii_lowercase());
    first.into_iter().chain(rest).collect()
}

impl std::error::Error for LaunchError {}

impl Classify for LaunchError {
    fn kind(&self) -> Kind {
        match (self.step, self.errno) {
            (Step::Deadline, _) => Kind::DeadlineExceeded,
            (Step::Lookup | Step::Identity, _) => Kind::InvalidArgument,
            (Step::Execute, Some(libc::ENOEXEC | libc::ENOENT | libc::EACCES | libc::E2BIG)) => Kind::InvalidArgument,
            // The container whose namespaces were to be entered has just ended.
            (Step::Namespace, Some(libc::ESRCH)) => Kind::FailedPrecondition,
            (_, Some(libc::ENOSPC | libc::EDQUOT)) => Kind::ResourceExhausted,
            (_, Some(errno)) => io_kind(&io::Error::from_raw_os_error(errno)),
            (_, None) => Kind::Internal,
        }
    }
}

/// Says where a system call was made.
pub(super) trait At<T> {
    /// Wraps the error of a system call in the step `step` on `what`.
    fn at(self, step: Step, what: impl fmt::Display) -> Result<T, LaunchError>;
}

impl<T> At<T> for rustix::io::Result<T> {
    fn at(self, step: Step, what: impl fmt::Display) -> Result<T, LaunchError> {
        self.map_err(|errno| LaunchError::os(step, what.to_string(), errno.raw_os_error()))
    }
}

impl<T> At<T> for nix::Result<T> {
    fn at(self, step: Step, what: impl fmt::Display) -> Result<T, LaunchError> {
        self.map_err(|errno| LaunchError::os(step, what.to_string(), errno as i32))
    }
}

impl<T> At<T> for io::Result<T> {
    fn at(self, step: Step, what: impl fmt::Display) -> Result<T, LaunchError> {
        self.map_err(|error| match error.raw_os_error() {
            Some(errno) => LaunchError::os(step, what.to_string(), errno),
            None => LaunchError::new(step, format!("{what}: {error}")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn launch_errors_read_as_sentences() {
        let show = |step, what: &str, errno| LaunchError { step, what: what.to_owned(), errno }.to_string();
        assert_eq!(show(Step::Mount, "/proc", Some(libc::EPERM)), "mount /proc: operation not permitted");
        let lookup = show(Step::Lookup, "\"foo\": executable file not found in $PATH", None);
        assert_eq!(lookup, "exec: \"foo\": executable file not found in $PATH");
        assert_eq!(show(Step::Execute, "/bin/x", Some(libc::ENOEXEC)), "exec /bin/x: exec format error");
        assert_eq!(show(Step::Deadline, "took longer than 60 s", None), "launch took longer than 60 s");
    }
}
