//! Cgroups that have to go when nobody is left to remove them: their monitor is dead, or could not.
//!
//! A cgroup can be removed once the last of its processes has been reaped, and who reaps orphans of a dead monitor, and
//! when, is up to the host's init. Nobody is kept waiting for that.

use std::time::Duration;

use super::Engine;
use crate::{error::chain, runtime::cgroup::Cgroup, task::blocking};

/// How long until a removal is tried again, at first; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// And at last, for as long as the daemon lives.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

impl Engine {
    /// Kills what is in a cgroup and removes it. Never fails: what takes longer than a moment is logged and goes on in the
    /// background.
    pub(super) async fn remove_cgroup(&self, path: &str) {
        let cgroup = self.parts.cgroups.open(path);
        if removed(cgroup.clone()).await {
            return;
        }
        // Not among `tasks`: the daemon's own end does not wait for it.
        tokio::spawn(async move {
            let mut pause = FIRST_PAUSE;
            loop {
                tokio::time::sleep(pause).await;
                if removed(cgroup.clone()).await {
                    return;
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        });
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
