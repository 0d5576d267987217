//! RemovePodSandbox: the pod, its containers and its name.

use std::sync::Arc;

use super::Pod;
use crate::{
    engine::{Engine, Error, EventKind, ledger, names},
    fault,
};

impl Engine {
    /// Removes a pod and its containers, stopping them first. A pod that is not there is no error.
    ///
    /// # Errors
    /// When something of it cannot be given back; calling again goes on from there.
    pub async fn remove_pod(self: &Arc<Self>, id: &str) -> Result<(), Error> {
        let pod = match self.find_pod(id) {
            Ok(pod) => pod,
            Err(Error::NoPod(_)) => return Ok(()),
            Err(error) => return Err(error),
        };
        let engine = Arc::clone(self);
        let removing = self.tasks.spawn(async move {
            let _exclusive = engine.gate_for_end(&pod).await;
            engine.remove_found_pod(&pod).await
        });
        removing.await.unwrap_or(Err(Error::Panicked("removing a pod")))
    }

    async fn remove_found_pod(self: &Arc<Self>, pod: &Arc<Pod>) -> Result<(), Error> {
        if self.pods.get(&pod.id).is_none() {
            return Ok(());
        }
        self.stop_found_pod(pod).await?;
        fault::point("pod.remove.stopped");
        for container in pod.containers() {
            self.remove_found_container(&container).await?;
        }
        fault::point("pod.remove.containers");
        self.ledger.delete(&ledger::PODS, &pod.id).await?;
        fault::point("pod.remove.record");
        self.pods.remove(&pod.id);
        self.names.release(&names::of_pod(&pod.config.metadata));
        self.release_level(&pod.selinux_level);
        self.tell_of_pod(pod, EventKind::Deleted);
        Ok(())
    }
}
