use std::{future::Future, pin::Pin, sync::Arc};

use super::Error;
use crate::{error::chain, task::retry};

type Undone = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

#[derive(Clone)]
struct Step {
    name: &'static str,
    undo: Arc<dyn Fn() -> Undone + Send + Sync>,
}

/// What has to be undone if the operation fails after all: steps pushed as their counterparts succeed.
#[derive(Default)]
pub(super) struct Rollback(Vec<Step>);

impl std::fmt::Debug for Rollback {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|step| step.name)).finish()
    }
}

impl Rollback {
    /// Adds the undoing of what was just done. It is called again if it fails.
    pub(super) fn push<Undo>(&mut self, name: &'static str, undo: impl Fn() -> Undo + Send + Sync + 'static)
    where
        Undo: Future<Output = Result<(), Error>> + Send + 'static,
    {
        self.0.push(Step { name, undo: Arc::new(move || Box::pin(undo())) });
    }

    /// Undoes everything, last first. All steps run, whatever happens to the others. Failures are logged, as the caller
    /// has an error of its own to return; those steps are tried again in the background until they succeed.
    pub(super) async fn run(mut self) {
        self.0.reverse();
        for step in self.0 {
            if !step.succeeds().await {
                retry(move || {
                    let step = step.clone();
                    async move { step.succeeds().await }
                });
            }
        }
    }
}

impl Step {
    async fn succeeds(&self) -> bool {
        let result = (self.undo)().await;
        if let Err(error) = &result {
            tracing::warn!(step = self.name, error = chain(error), "undoing failed");
        }
        result.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc, Mutex,
            atomic::{AtomicU32, Ordering::Relaxed},
        },
        time::Duration,
    };

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn steps_are_undone_last_first_and_a_failing_one_is_tried_again_after_the_rest() {
        let undone = Arc::new(Mutex::new(Vec::new()));
        let mut rollback = Rollback::default();
        for (name, failures) in [("a", 0), ("b", 2), ("c", 0)] {
            let (undone, left) = (Arc::clone(&undone), AtomicU32::new(failures));
            rollback.push(name, move || {
                undone.lock().unwrap().push(name);
                let fails = left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok();
                async move { if fails { Err(Error::Random) } else { Ok(()) } }
            });
        }
        rollback.run().await;
        assert_eq!(*undone.lock().unwrap(), ["c", "b", "a"]);
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!(*undone.lock().unwrap(), ["c", "b", "a", "b", "b"]);
    }
}
