//! Cgroups that have to go when nobody is left to remove them: their monitor is dead, or could not.
//!
//! A cgroup can be removed once the last of its processes has been reaped, and who reaps orphans of a dead monitor, and
//! when, is up to the host's init. Nobody is kept waiting for that.

use super::Engine;
use crate::{
    error::chain,
    runtime::cgroup::Cgroup,
    task::{blocking, retry},
};

impl Engine {
    /// Kills what is in a cgroup and removes it. Never fails: what takes longer than a moment is logged and goes on in the
    /// background.
    pub(super) async fn remove_cgroup(&self, path: &str) {
        let cgroup = self.parts.cgroups.open(path);
        if !removed(cgroup.clone()).await {
            retry(move || removed(cgroup.clone()));
        }
    }
}

async fn removed(cgroup: Cgroup) -> bool {
    let path = cgroup.path().to_owned();
    match blocking(move || cgroup.kill().and_then(|()| cgroup.remove())).await {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(cgroup = %path.display(), error = chain(&error), "a cgroup is still there");
            false
        }
    }
}
