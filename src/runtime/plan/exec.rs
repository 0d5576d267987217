//! The plan of one more process in a running container.

use serde::{Deserialize, Serialize};

use super::{Confinement, ContainerPlan, ProcessPlan, process};

/// A process to be added to a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecPlan {
    /// What is executed.
    pub process: ProcessPlan,
    /// The container is in a user namespace.
    #[serde(default)]
    pub user_namespace: bool,
    /// The container's own confinement.
    pub confinement: Confinement,
    /// The container's cgroup; unused where the launcher is given a way in.
    pub cgroup: String,
    /// The container's.
    #[serde(default)]
    pub oom_score_adj: Option<i32>,
}

/// Plans an exec of `cmd`: it gets what the container has (its environment, working directory, capabilities, filter,
/// label, cgroup), and `TERM` with a terminal. The user is the one that the container was started with.
///
/// An empty `cmd` is left for the launch to refuse.
pub fn exec(container: &ContainerPlan, cmd: &[String], tty: bool) -> ExecPlan {
    let mut env = container.process.env.clone();
    if tty && !env.iter().any(|entry| entry.starts_with("TERM=")) {
        process::set(&mut env, "TERM=xterm".to_owned());
    }
    ExecPlan {
        process: ProcessPlan { args: cmd.to_vec(), env, cwd: container.process.cwd.clone(), terminal: tty },
        user_namespace: container.user_namespace.is_some(),
        confinement: container.confinement.clone(),
        cgroup: container.cgroup.clone(),
        oom_score_adj: container.oom_score_adj,
    }
}
