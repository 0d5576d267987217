//! Processes that were added to containers.
//!
//! Each has its own branch of the container's cgroup. Whatever an exec starts is born in the branch and does not leave
//! it by forking twice, by a session of its own or by losing its parent, so killing the branch kills the whole tree and
//! nothing else. Process ids do not serve: orphans in a container are adopted by the container's first process, beside
//! that one's own children.

use std::os::fd::{AsFd, OwnedFd};

use super::{connection::Answer, container::Container, note, poll::Token, pty};
use crate::{
    monitor::wire::{Failure, Notice, Reply},
    runtime::{
        cgroup::Branch,
        launch::{self, Stdio},
        plan::ExecPlan,
    },
    types::{ExitStatus, Id, Timestamp},
};

/// A running exec.
#[derive(Debug)]
pub(super) struct Exec {
    id: Id,
    pid: i32,
    branch: Branch,
    /// A copy of its terminal's master side, for changes of the size.
    console: Option<OwnedFd>,
    /// The connection with which it ends; `None` if it is detached.
    owner: Option<Token>,
}

impl Exec {
    /// Launches it; its program runs when this returns. The answer has the terminal's master side.
    pub(super) fn launch(
        id: Id,
        container: &Container,
        plan: &ExecPlan,
        stdio: Stdio,
        owner: Option<Token>,
    ) -> Result<(Self, Answer), Failure> {
        let branch = container
            .cgroup()
            .branch(&format!("exec-{}", id.short()))
            .map_err(|error| Failure::caused("make a cgroup for the exec", &error))?;
        match Self::launch_into(&branch, container, plan, stdio) {
            Ok((pid, console, console_copy)) => {
                let answer = Ok((Reply::Executed { pid }, console.into_iter().collect()));
                Ok((Self { id, pid, branch, console: console_copy, owner }, answer))
            }
            Err(failure) => {
                clear(&branch);
                Err(failure)
            }
        }
    }

    fn launch_into(
        branch: &Branch,
        container: &Container,
        plan: &ExecPlan,
        stdio: Stdio,
    ) -> Result<(i32, Option<OwnedFd>, Option<OwnedFd>), Failure> {
        let entrance = branch.entrance().map_err(|error| Failure::caused("enter the exec's cgroup", &error))?;
        let launched = launch::exec(plan, &container.target(&entrance), stdio)?;
        let copy = launched.console.as_ref().map(OwnedFd::try_clone).transpose();
        let copy = copy.map_err(|error| Failure::system("keep the exec's terminal", &error))?;
        Ok((launched.pid, launched.console, copy))
    }

    pub(super) fn id(&self) -> &Id {
        &self.id
    }

    pub(super) fn pid(&self) -> i32 {
        self.pid
    }

    /// Whether it ends with that connection.
    pub(super) fn belongs_to(&self, connection: Token) -> bool {
        self.owner == Some(connection)
    }

    /// Kills it and all that descend from it; its end is then reaped as any other.
    pub(super) fn kill(&self) -> Result<(), Failure> {
        self.branch.kill().map_err(|error| Failure::caused("kill the exec's processes", &error))
    }

    /// Sets its terminal's size.
    pub(super) fn resize(&self, columns: u16, rows: u16) -> Result<(), Failure> {
        let console = self.console.as_ref().ok_or(Failure::NoTerminal)?;
        pty::resize(console.as_fd(), columns, rows).map_err(|error| Failure::system("resize terminal", &error))
    }

    /// What to tell of its process's end, after it has been reaped, and itself, if it has left processes behind. Those go
    /// on, as part of the container, unless the daemon asks for their death because it has not heard of the end.
    pub(super) fn ended(self, code: i32) -> (Notice, Option<Self>) {
        let status = ExitStatus::ended(code, false, Timestamp::now());
        let notice = Notice::ExecExited { exec: self.id.clone(), status };
        let left = self.has_processes();
        if !left {
            clear(&self.branch);
        }
        (notice, left.then_some(self))
    }

    /// Whether anything runs in its branch, which otherwise goes away with the container's cgroup.
    pub(super) fn has_processes(&self) -> bool {
        self.branch.processes().is_ok_and(|processes| !processes.is_empty())
    }

    /// Kills what it has left behind.
    pub(super) fn clear(self) {
        clear(&self.branch);
    }
}

/// Kills what is in a branch and removes it.
fn clear(branch: &Branch) {
    if let Err(error) = branch.kill().and_then(|()| branch.remove()) {
        note("remove an exec's cgroup", &error);
    }
}
