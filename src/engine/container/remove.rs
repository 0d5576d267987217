//! RemoveContainer: killed if need be, its writable layer, its record and its name given back.

use std::{sync::Arc, time::Duration};

use super::{Change, Container, hooks};
use crate::{
    engine::{Engine, Error, EventKind, names},
    error::chain,
    fault,
    types::{ExitStatus, Timestamp},
};

/// How long a removal waits for a killed process to end.
const KILL_PATIENCE: Duration = Duration::from_secs(30);

impl Engine {
    /// Removes a container, killing it first if it runs. Its log file stays. A container that is not there is no
    /// error.
    ///
    /// # Errors
    /// When its process does not end or something of it cannot be given back; calling again goes on from there.
    pub async fn remove_container(self: &Arc<Self>, id: &str) -> Result<(), Error> {
        let container = match self.find_container(id) {
            Ok(container) => container,
            Err(Error::NoContainer(_)) => return Ok(()),
            Err(error) => return Err(error),
        };
        let engine = Arc::clone(self);
        let removing = self.tasks.spawn(async move { engine.remove_found_container(&container).await });
        removing.await.unwrap_or(Err(Error::Panicked("removing a container")))
    }

    pub(in crate::engine) async fn remove_found_container(
        self: &Arc<Self>,
        container: &Arc<Container>,
    ) -> Result<(), Error> {
        let _gate = container.gate.lock().await;
        if self.containers.get(&container.id).is_none() {
            return Ok(());
        }
        self.kill_and_wait(container, KILL_PATIENCE).await?;
        fault::point("container.remove.killed");
        hooks::finished(container).await;
        // The record goes first: a snapshot without a record is swept at the next start, a record without its snapshot
        // would be a container that cannot run.
        self.forget_record(container).await?;
        // Whoever is attached to one that was never started waits for its end.
        let message = "removed before its start".to_owned();
        container.change(Change::Ended(ExitStatus::start_error(message, Timestamp::now())));
        fault::point("container.remove.record");
        if let Err(error) = self.remove_snapshot(&container.id).await {
            tracing::warn!(container = %container.id, error = chain(&error), "a writable layer is left until the next start");
        }
        if let Ok(monitor) = container.pod.monitor() {
            // A monitor that does not answer drops its record with the pod.
            let _ = monitor.forget(&container.id).await;
        }
        fault::point("container.remove.forgotten");
        self.containers.remove(&container.id);
        container.pod.remove(container);
        self.names.release(&names::of_container(&container.config.metadata, &container.pod_id));
        self.usage.forget(&container.id);
        self.tell_of_container(container, EventKind::Deleted);
        Ok(())
    }
}
