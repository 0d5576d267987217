//! Birth of a process: what happens in it before its own steps, and after they have failed.
//!
//! The new process has a copy of the launcher's memory and its only thread, so it may allocate; it must neither return
//! into the launcher's code nor run what the launcher has registered for its own end.

use std::{
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind},
};

use rustix::process::{DumpableBehavior, set_dumpable_behavior};

use super::{
    Child,
    protocol::{Conversation, Reporter},
};
use crate::{
    runtime::error::{At as _, LaunchError, Step},
    sys::{
        clone3::{Clone3, Cloned},
        exit, signal,
    },
};

/// Makes a process that runs `main`, which ends by becoming another program, or in an error that is reported.
pub(super) fn spawn(
    clone: &Clone3<'_>,
    (conversation, reporter): (Conversation, Reporter),
    main: impl FnOnce(&Reporter) -> Result<Infallible, LaunchError>,
) -> Result<(Child, Conversation), LaunchError> {
    match clone.call().at(Step::Clone, "process")? {
        Cloned::Parent { pid, pidfd } => Ok((Child { pid, pidfd }, conversation)),
        Cloned::Child => {
            // Or we would never see the launcher go.
            drop(conversation);
            let result = catch_unwind(AssertUnwindSafe(|| begin().and_then(|()| main(&reporter))));
            let error = match result {
                Ok(Ok(never)) => match never {},
                Ok(Err(error)) => error,
                Err(_) => LaunchError::new(Step::Protocol, "the new process panicked"),
            };
            reporter.failed(&error);
            exit::now(1)
        }
    }
}

/// Goes on in a new process with other namespaces, a sibling of this one, which ends, in a session of its own. For what
/// has to be owned by a user namespace that this process has entered since it was made, and to be born into a PID
/// namespace that it has chosen for its children.
pub(in crate::runtime) fn go_on_as_sibling(flags: i32, reporter: &Reporter) -> Result<(), LaunchError> {
    let clone = Clone3 { flags: flags | libc::CLONE_PARENT, cgroup: None };
    match clone.call().at(Step::Clone, "process in the user namespace")? {
        Cloned::Child => {
            reporter.wait_for_adoption()?;
            rustix::process::setsid().map(drop).at(Step::Clone, "session")
        }
        Cloned::Parent { pidfd, .. } => {
            use std::os::fd::AsFd as _;
            let reported = reporter.spawned(pidfd.as_fd());
            exit::now(i32::from(reported.is_err()))
        }
    }
}

/// What every new process does first.
fn begin() -> Result<(), LaunchError> {
    // Nobody in a container that we enter shall look into our memory or reach our executable through /proc.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).at(Step::Credentials, "not dumpable")?;
    rustix::thread::set_name(c"berth:init").at(Step::Clone, "process name")?;
    signal::reset().at(Step::Clone, "signals")
}
