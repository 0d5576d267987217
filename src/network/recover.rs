//! What is done after a restart of the daemon.
//!
//! Assumed: leases are written before anything is made in the kernel and removed after it is gone; links of ours are in
//! our group; the table holds nothing that is not in the leases. The table itself has been made anew when the network
//! was opened.

use std::collections::HashSet;

use super::{
    Error, Recovery,
    lease::{Lease, Phase},
    link,
    teardown::Doomed,
    worker::Worker,
};
use crate::types::Id;

impl Worker {
    /// Keeps the network of live pods; removes that of others, half-made ones and links of nobody.
    pub(super) async fn recover(&mut self, live: &HashSet<Id>) -> Result<Recovery, Error> {
        let leases: Vec<Lease> = self.shared.book().all().cloned().collect();
        let mut recovery = Recovery::default();
        for lease in &leases {
            match lease.phase {
                Phase::Attached if live.contains(&lease.pod) => recovery.kept += 1,
                Phase::Attaching | Phase::Attached => {
                    self.release(&lease.pod)?;
                    recovery.released.push(lease.pod.clone());
                }
                // The daemon ended before the teardown did.
                Phase::Releasing => self.tear_down(lease.clone()),
            }
        }
        let leased: HashSet<&str> = leases.iter().map(|lease| lease.link.as_str()).collect();
        for link in link::all(self.host.handle()).await? {
            if link.is_veth && self.is_ours(link.group) && !leased.contains(link.name.as_str()) {
                let _ = self.doomed.send(Doomed { link: link.name, pod: None });
            }
        }
        Ok(recovery)
    }

    fn is_ours(&self, group: u32) -> bool {
        group == self.group || group == super::teardown::dying(self.group)
    }
}
