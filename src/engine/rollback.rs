use std::{future::Future, pin::Pin};

use super::Error;
use crate::error::chain;

type Step = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// What has to be undone if the operation fails after all: steps pushed as their counterparts succeed.
#[derive(Default)]
pub(super) struct Rollback(Vec<(&'static str, Step)>);

impl std::fmt::Debug for Rollback {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

impl Rollback {
    /// Adds the undoing of what was just done.
    pub(super) fn push(&mut self, name: &'static str, step: impl Future<Output = Result<(), Error>> + Send + 'static) {
        self.0.push((name, Box::pin(step)));
    }

    /// Undoes everything, last first. All steps run, whatever happens to the others; failures are logged, as the
    /// caller has an error of its own to return.
    pub(super) async fn run(self) {
        for (name, step) in self.0.into_iter().rev() {
            if let Err(error) = step.await {
                tracing::warn!(step = name, error = chain(&error), "undoing failed");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[tokio::test]
    async fn steps_are_undone_last_first_and_a_failing_one_does_not_stop_the_rest() {
        let undone = Arc::new(Mutex::new(Vec::new()));
        let mut rollback = Rollback::default();
        for (name, fails) in [("a", false), ("b", true), ("c", false)] {
            let undone = Arc::clone(&undone);
            rollback.push(name, async move {
                undone.lock().unwrap().push(name);
                if fails { Err(Error::Random) } else { Ok(()) }
            });
        }
        rollback.run().await;
        assert_eq!(*undone.lock().unwrap(), ["c", "b", "a"]);
    }
}
