//! What the daemon has answered, whoever asked: what must be in its lists, what must not, and who was killed.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use berth::wire::{ListContainersRequest, ListPodSandboxRequest};

use crate::support::Daemon;

/// What holds at this moment. A call under way takes back what it may change.
#[derive(Debug, Default)]
pub(crate) struct Promises {
    /// Pods and containers that are there.
    present: BTreeSet<String>,
    /// Pods and containers that are being removed.
    going: BTreeSet<String>,
    /// Pods and containers that were removed.
    removed: BTreeSet<String>,
    /// Addresses of ready pods.
    addresses: BTreeMap<String, String>,
    /// Main processes of running containers: container and pod by process id.
    processes: BTreeMap<i32, (String, String)>,
    /// Containers whose process, pods whose monitor was killed, alone or with everything else.
    killed: HashSet<String>,
    monitors_killed: u32,
    containers_killed: u32,
    power_cuts: u32,
}

impl Promises {
    /// A pod or container is there. It may have been made before the last of so many power cuts.
    pub(crate) fn made(&mut self, id: &str, power_cuts: u32) {
        self.present.insert(id.to_owned());
        if power_cuts != self.power_cuts {
            self.killed.insert(id.to_owned());
        }
    }

    /// A pod or container is being removed: it may be there or not.
    pub(crate) fn goes(&mut self, id: &str) {
        self.present.remove(id);
        self.going.insert(id.to_owned());
    }

    /// A pod or container is not there any more.
    pub(crate) fn gone(&mut self, id: &str) {
        self.going.remove(id);
        self.removed.insert(id.to_owned());
    }

    /// Pods and containers that are not there any more.
    pub(crate) fn removed(&self) -> &BTreeSet<String> {
        &self.removed
    }

    /// Pods and containers whose removal has begun or is over.
    pub(crate) fn begun_to_go(&self) -> BTreeSet<String> {
        self.going.union(&self.removed).cloned().collect()
    }

    /// A pod has got this address, which no other pod may have.
    pub(crate) fn takes_address(&mut self, address: &str, pod: &str) {
        let other = self.addresses.insert(address.to_owned(), pod.to_owned());
        assert_eq!(other, None, "{pod} has got {address}, which is another pod's");
    }

    /// A pod's address may be used again.
    pub(crate) fn gives_address(&mut self, address: &str, pod: &str) {
        if self.addresses.get(address).is_some_and(|owner| owner == pod) {
            self.addresses.remove(address);
        }
    }

    /// A container's process, which may be killed from now on.
    pub(crate) fn runs(&mut self, pid: i32, container: &str, pod: &str) {
        self.processes.insert(pid, (container.to_owned(), pod.to_owned()));
    }

    /// A container's process must not be killed any more.
    pub(crate) fn ends(&mut self, container: &str) {
        self.processes.retain(|_, (id, _)| id != container);
    }

    /// Processes that may be killed, with their containers and pods.
    pub(crate) fn processes(&self) -> Vec<(i32, String, String)> {
        self.processes.iter().map(|(pid, (container, pod))| (*pid, container.clone(), pod.clone())).collect()
    }

    /// To be said before everything is ended at once.
    pub(crate) fn cuts_power(&mut self) {
        self.power_cuts += 1;
        self.addresses.clear();
        self.processes.clear();
        self.killed.extend(self.present.iter().cloned());
    }

    /// How often everything was ended at once.
    pub(crate) fn power_cuts(&self) -> u32 {
        self.power_cuts
    }

    /// To be said before a container's process is killed.
    pub(crate) fn kills(&mut self, container: &str) {
        self.containers_killed += 1;
        self.killed.insert(container.to_owned());
    }

    /// To be said before a pod's monitor is killed.
    pub(crate) fn kills_monitor(&mut self, pod: &str) {
        self.monitors_killed += 1;
        self.processes.retain(|_, (_, of)| of != pod);
        self.killed.insert(pod.to_owned());
    }

    /// Whether a container's process, or a pod's monitor, has been killed.
    pub(crate) fn was_killed(&self, id: &str) -> bool {
        self.killed.contains(id)
    }

    /// How much has come and gone.
    pub(crate) fn tally(&self) -> String {
        let (removed, monitors, containers) = (self.removed.len(), self.monitors_killed, self.containers_killed);
        format!(
            "{removed} pods and containers made and removed, {monitors} monitors and {containers} containers killed, \
             power cut {} times",
            self.power_cuts,
        )
    }

    /// Fails unless the daemon's lists have what must be there, and nothing that was removed.
    pub(crate) fn check(&self, listed: &HashSet<String>) {
        let lost: Vec<_> = self.present.iter().filter(|id| !listed.contains(*id)).collect();
        assert!(lost.is_empty(), "lost: {lost:#?}");
        let back: Vec<_> = self.removed.iter().filter(|id| listed.contains(*id)).collect();
        assert!(back.is_empty(), "back after its removal: {back:#?}");
    }
}

/// The ids of all pods and containers that the daemon knows.
pub(crate) async fn listed(daemon: &Daemon) -> HashSet<String> {
    let pods = daemon.runtime().list_pod_sandbox(ListPodSandboxRequest::default()).await.expect("list pods");
    let containers = daemon.runtime().list_containers(ListContainersRequest::default()).await.expect("list containers");
    let pods = pods.into_inner().items.into_iter().map(|pod| pod.id);
    pods.chain(containers.into_inner().containers.into_iter().map(|container| container.id)).collect()
}
