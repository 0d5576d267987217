//! Hooks: programs of the host that devices want to be run on a container's way through its life, OCI runtime-spec
//! "config.md", *POSIX-platform Hooks*.
//!
//! They are the host administrator's own and have the host's privileges. What they are told of the container is its
//! state, on standard input, and a *bundle*: a directory with `config.json`, for those that look into that, and the
//! place where the container's root is mounted, for those that are in its namespaces.
//!
//! | phase | when | in whose namespaces |
//! |---|---|---|
//! | prestart, createRuntime | all is mounted, the root is not the root yet | the host's |
//! | createContainer | then | the container's, but for a PID namespace that is not its own; paths are still the host's |
//! | poststart | the program runs | the host's |
//! | poststop | it has ended, and the container is removed or its pod stopped | the host's |

mod bundle;
mod run;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{error::LaunchError, plan};
use crate::types::Id;

/// How long a hook may take that does not say so itself.
const LIMIT: Duration = Duration::from_secs(30);
/// How long any hook may take: its container's pod waits.
const LONGEST: Duration = Duration::from_secs(120);

/// When a hook is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// The older name of the next.
    Prestart,
    /// When the container is assembled, on the host.
    CreateRuntime,
    /// When the container is assembled, in it.
    CreateContainer,
    /// When the program runs.
    Poststart,
    /// When the container is removed or its pod stopped.
    Poststop,
}

impl Phase {
    /// The phases in the order in which a container comes to them.
    pub const ALL: [Self; 5] =
        [Self::Prestart, Self::CreateRuntime, Self::CreateContainer, Self::Poststart, Self::Poststop];

    /// The name that specifications use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Prestart => "prestart",
            Self::CreateRuntime => "createRuntime",
            Self::CreateContainer => "createContainer",
            Self::Poststart => "poststart",
            Self::Poststop => "poststop",
        }
    }

    /// What the container's state is called meanwhile.
    const fn status(self) -> &'static str {
        match self {
            Self::Prestart | Self::CreateRuntime | Self::CreateContainer => "creating",
            Self::Poststart => "running",
            Self::Poststop => "stopped",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A program to be run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// When.
    pub phase: Phase,
    /// The program, an absolute path on the host.
    pub path: PathBuf,
    /// Its arguments, the first of which is what it sees as its own name; none for just its path.
    pub args: Vec<String>,
    /// All of its environment, `NAME=value`.
    pub env: Vec<String>,
    /// How long it may take, seconds.
    pub timeout: Option<u64>,
}

impl Hook {
    /// How long it may take.
    fn limit(&self) -> Duration {
        self.timeout.map_or(LIMIT, Duration::from_secs).min(LONGEST)
    }
}

/// A container's hooks and what they are told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hooks {
    /// The container.
    container: Id,
    /// Its annotations.
    annotations: BTreeMap<String, String>,
    /// The directory of the bundle.
    bundle: PathBuf,
    /// In the order in which those of one phase are run.
    list: Vec<Hook>,
}

impl Hooks {
    /// The hooks of a container whose pod has the directory `pod_dir`; `None` if there are none.
    pub fn new(container: &Id, pod_dir: &Path, annotations: &BTreeMap<String, String>, hooks: &[Hook]) -> Option<Self> {
        (!hooks.is_empty()).then(|| Self {
            container: container.clone(),
            annotations: annotations.clone(),
            bundle: pod_dir.join("bundles").join(container.as_str()),
            list: hooks.to_vec(),
        })
    }

    /// Where the container's root is mounted: in its own mount namespace, until it is its root.
    pub fn root(&self) -> PathBuf {
        self.bundle.join("rootfs")
    }

    /// Whether there is something to be run in a phase.
    pub fn has(&self, phases: &[Phase]) -> bool {
        self.list.iter().any(|hook| phases.contains(&hook.phase))
    }

    /// How long the hooks of some phases may take together.
    pub(super) fn limit(&self, phases: &[Phase]) -> Duration {
        self.list.iter().filter(|hook| phases.contains(&hook.phase)).map(Hook::limit).sum()
    }

    /// Runs the hooks of a phase, one after the other, in the namespaces that the caller is in, which has no
    /// descriptors that a program would inherit. `pid` is the container's main process, if there is one. Blocking.
    ///
    /// # Errors
    /// The first one that fails, with what it says of it; those after it are not run.
    pub fn run(&self, phase: Phase, pid: Option<i32>) -> Result<(), LaunchError> {
        let state = self.state(phase, pid).to_string();
        self.of_phase(phase).try_for_each(|hook| run::run(hook, &state, &self.bundle))
    }

    /// As [`Self::run`], but all are run. Returns what went wrong. Blocking.
    pub fn run_all(&self, phase: Phase, pid: Option<i32>) -> Vec<LaunchError> {
        let state = self.state(phase, pid).to_string();
        self.of_phase(phase).filter_map(|hook| run::run(hook, &state, &self.bundle).err()).collect()
    }

    fn of_phase(&self, phase: Phase) -> impl Iterator<Item = &Hook> {
        self.list.iter().filter(move |hook| hook.phase == phase)
    }

    /// What hooks read: runtime-spec "runtime.md", *State*.
    fn state(&self, phase: Phase, pid: Option<i32>) -> Value {
        let mut state = json!({
            "ociVersion": plan::OCI_VERSION,
            "id": self.container,
            "status": phase.status(),
            "bundle": self.bundle,
            "annotations": self.annotations,
        });
        if let Some(pid) = pid {
            state["pid"] = pid.into();
        }
        state
    }

    /// The hooks as `config.json` lists them.
    pub(super) fn spec(&self) -> Value {
        let listed = |phase: Phase| {
            let hooks: Vec<Value> = self
                .of_phase(phase)
                .map(|hook| json!({ "path": hook.path, "args": hook.args, "env": hook.env, "timeout": hook.timeout }))
                .collect();
            (!hooks.is_empty()).then(|| (phase.name().to_owned(), Value::Array(hooks)))
        };
        Value::Object(Phase::ALL.into_iter().filter_map(listed).collect())
    }
}
