//! Taking a pod off the network.

use super::{
    Error,
    lease::{Lease, Phase},
    teardown::Doomed,
    worker::Worker,
};
use crate::{fault, types::Id};

impl Worker {
    /// Takes a pod off the network; no error if it is not on it or is being taken off it.
    pub(super) fn detach(&mut self, pod: &Id) -> Result<(), Error> {
        let phase = self.shared.book().get(pod).map(|lease| lease.phase);
        match phase {
            None => Ok(()),
            // Perhaps its host ports could not be closed the first time.
            Some(Phase::Releasing) if self.shared.condition().is_some() => self.rebuild_table(),
            Some(Phase::Releasing) => Ok(()),
            Some(Phase::Attaching | Phase::Attached) => self.release(pod),
        }
    }

    /// Writes down that a pod's network is going, closes its host ports and leaves the rest to the teardown.
    pub(super) fn release(&mut self, pod: &Id) -> Result<(), Error> {
        let Some(lease) = self.shared.book().get(pod).cloned() else { return Ok(()) };
        self.shared.book().set_phase(pod, Phase::Releasing)?;
        fault::point("network.detach.releasing");
        let closed = self.close_ports(&lease);
        fault::point("network.detach.closed");
        self.tear_down(lease);
        closed
    }

    fn close_ports(&mut self, lease: &Lease) -> Result<(), Error> {
        if lease.ports.is_empty() {
            return Ok(());
        }
        // Elements are missing when somebody changed the table, or when setting the pod up failed before they were made.
        self.firewall.close_ports(&lease.ports, self.is_routed()).or_else(|_| self.rebuild_table())
    }

    /// Has the link of a lease deleted, and the lease ended after that.
    pub(super) fn tear_down(&self, lease: Lease) {
        // It ends only after this worker.
        let _ = self.doomed.send(Doomed { link: lease.link, pod: Some(lease.pod) });
    }
}
