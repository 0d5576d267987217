//! Launching one more process in a container.

use super::{Launched, Stdio, Target, cgroup_error, hierarchy, parent};
use crate::{
    runtime::{error::LaunchError, init, plan::ExecPlan},
    sys::clone3::Clone3,
};

/// Adds a process to a running container; it is a child of the caller, who reaps it.
///
/// # Errors
/// On failure nothing is left behind.
pub fn exec(plan: &ExecPlan, target: &Target<'_>, stdio: Stdio) -> Result<Launched, LaunchError> {
    let own;
    let entrance = match target.entrance {
        Some(entrance) => entrance,
        None => {
            own = hierarchy()?.open(&plan.cgroup).entrance().map_err(cgroup_error)?;
            &own
        }
    };
    let clone = Clone3 { flags: 0, cgroup: entrance.directory() };
    parent::launch(&clone, None, |reporter| init::exec(plan, target, stdio, entrance, reporter))
}
