//! An engine, what it has been asked for so far, and the next thing to ask.

use std::collections::BTreeMap;

use berth::wire::*;
use tonic::{Code, Response, Status};

use super::disturb::Dice;
use crate::support::{Daemon, container, eventually, pod, shell};

/// How many pods there are at most, and names for them.
const PODS: usize = 4;
/// A main process that ends when it is asked to.
const OBEDIENT: &str = "trap 'exit 3' TERM; sleep 1000 & wait";

/// The engine, and what it must have by the answers that it gave.
pub(super) struct World {
    daemon: Daemon,
    dice: Dice,
    /// Pods by id, with what they were made from.
    pods: BTreeMap<String, PodSandboxConfig>,
    /// Containers by id, with their pods.
    containers: BTreeMap<String, String>,
    /// Ids of what has been removed.
    gone: Vec<String>,
    /// How many requests were answered otherwise than with a refusal.
    taken: usize,
    /// How many were refused.
    refused: usize,
}

impl World {
    pub(super) async fn new(seed: u64) -> Self {
        let daemon = Daemon::start().await;
        daemon.import_busybox().await;
        let (pods, containers) = Default::default();
        Self { daemon, dice: Dice::new(seed), pods, containers, gone: Vec::new(), taken: 0, refused: 0 }
    }

    /// Sends one request and takes note of what it did.
    pub(super) async fn step(&mut self) {
        match self.dice.below(20) {
            0 | 1 => self.run_pod().await,
            2 => self.stop_pod().await,
            3 => self.remove_pod().await,
            4..=6 => self.create().await,
            7 | 8 => self.start().await,
            9 => self.stop().await,
            10 => self.remove().await,
            11 | 12 => self.exec().await,
            13 | 14 => self.change().await,
            15 => self.session().await,
            16 => self.image().await,
            _ => self.look().await,
        }
    }

    async fn run_pod(&mut self) {
        if self.pods.len() >= PODS {
            return self.remove_pod().await;
        }
        let config = pod(&self.daemon, &format!("p{}", self.dice.below(PODS)));
        let request = RunPodSandboxRequest { config: Some(config), ..Default::default() };
        let request = self.dice.disturb(request);
        let config = request.config.clone();
        let answer = self.answered(&request, self.daemon.runtime().run_pod_sandbox(request.clone()).await);
        if let (Some(answer), Some(config)) = (answer, config) {
            // The same request again is answered with the pod that is there.
            self.pods.insert(answer.pod_sandbox_id, config);
        }
    }

    async fn stop_pod(&mut self) {
        let request = StopPodSandboxRequest { pod_sandbox_id: self.a_pod() };
        self.answered(&request, self.daemon.runtime().stop_pod_sandbox(request.clone()).await);
    }

    async fn remove_pod(&mut self) {
        let request = RemovePodSandboxRequest { pod_sandbox_id: self.a_pod() };
        let id = request.pod_sandbox_id.clone();
        if self.answered(&request, self.daemon.runtime().remove_pod_sandbox(request.clone()).await).is_some() {
            let Some(id) = self.meant(&id, self.pods.keys()) else { return };
            self.pods.remove(&id);
            self.containers.retain(|_, pod| *pod != id);
            self.gone.push(id);
        }
    }

    async fn create(&mut self) {
        let pod_sandbox_id = self.a_pod();
        let sandbox_config = self.pods.get(&pod_sandbox_id).cloned();
        let name = format!("c{}", self.dice.below(4));
        let config = match self.dice.below(3) {
            0 => container(&name, &["true"]),
            _ => shell(&name, OBEDIENT),
        };
        let request = CreateContainerRequest { pod_sandbox_id, config: Some(config), sandbox_config };
        let request = self.dice.disturb(request);
        if let Some(answer) = self.answered(&request, self.daemon.runtime().create_container(request.clone()).await) {
            let pod = self.meant(&request.pod_sandbox_id, self.pods.keys()).expect("made in a pod that is not there");
            self.containers.insert(answer.container_id, pod);
        }
    }

    async fn start(&mut self) {
        let request = StartContainerRequest { container_id: self.a_container() };
        self.answered(&request, self.daemon.runtime().start_container(request.clone()).await);
    }

    async fn stop(&mut self) {
        let timeout = *self.dice.pick(&[-1, 0, 0, 1]);
        let request = StopContainerRequest { container_id: self.a_container(), timeout };
        self.answered(&request, self.daemon.runtime().stop_container(request.clone()).await);
    }

    async fn remove(&mut self) {
        let request = RemoveContainerRequest { container_id: self.a_container() };
        let id = request.container_id.clone();
        if self.answered(&request, self.daemon.runtime().remove_container(request.clone()).await).is_some() {
            let Some(id) = self.meant(&id, self.containers.keys()) else { return };
            self.containers.remove(&id);
            self.gone.push(id);
        }
    }

    async fn exec(&mut self) {
        let cmd = vec!["echo".to_owned(), self.dice.text()];
        let request = ExecSyncRequest { container_id: self.a_container(), cmd, timeout: 10 };
        let request = self.dice.disturb(request);
        self.answered(&request, self.daemon.runtime().exec_sync(request.clone()).await);
    }

    /// Changes what is there.
    async fn change(&mut self) {
        let mut runtime = self.daemon.runtime();
        let container_id = self.a_container();
        match self.dice.below(3) {
            0 => {
                let linux = Some(LinuxContainerResources { cpu_shares: 100, ..Default::default() });
                let request = UpdateContainerResourcesRequest { container_id, linux, ..Default::default() };
                let request = self.dice.disturb(request);
                self.answered(&request, runtime.update_container_resources(request.clone()).await);
            }
            1 => {
                let request = ReopenContainerLogRequest { container_id };
                self.answered(&request, runtime.reopen_container_log(request.clone()).await);
            }
            _ => {
                let request = UpdatePodSandboxResourcesRequest { pod_sandbox_id: self.a_pod(), ..Default::default() };
                let request = self.dice.disturb(request);
                self.answered(&request, runtime.update_pod_sandbox_resources(request.clone()).await);
            }
        }
    }

    /// Asks for a session, which nobody comes for.
    async fn session(&mut self) {
        let mut runtime = self.daemon.runtime();
        let container_id = self.a_container();
        match self.dice.below(3) {
            0 => {
                let cmd = vec!["true".to_owned()];
                let request = self.dice.disturb(ExecRequest { container_id, cmd, stdout: true, ..Default::default() });
                self.answered(&request, runtime.exec(request.clone()).await);
            }
            1 => {
                let request = self.dice.disturb(AttachRequest { container_id, stdout: true, ..Default::default() });
                self.answered(&request, runtime.attach(request.clone()).await);
            }
            _ => {
                let request = PortForwardRequest { pod_sandbox_id: self.a_pod(), port: vec![80] };
                let request = self.dice.disturb(request);
                self.answered(&request, runtime.port_forward(request.clone()).await);
            }
        }
    }

    /// Images that are not there; the one that is stays.
    async fn image(&mut self) {
        let mut client = self.daemon.image();
        let image = Some(ImageSpec { image: self.dice.text(), ..Default::default() });
        match self.dice.below(3) {
            0 => {
                let request = self.dice.disturb(ImageStatusRequest { image, verbose: true });
                self.answered(&request, client.image_status(request.clone()).await);
            }
            1 => {
                let request = RemoveImageRequest { image };
                self.answered(&request, client.remove_image(request.clone()).await);
            }
            _ => {
                let request = self.dice.disturb(ListImagesRequest::default());
                self.answered(&request, client.list_images(request.clone()).await);
            }
        }
    }

    /// Asks what there is.
    async fn look(&mut self) {
        let mut runtime = self.daemon.runtime();
        let (pod_sandbox_id, container_id) = (self.a_pod(), self.a_container());
        match self.dice.below(9) {
            0 => {
                let request = self.dice.disturb(PodSandboxStatusRequest { pod_sandbox_id, verbose: true });
                self.answered(&request, runtime.pod_sandbox_status(request.clone()).await);
            }
            1 => {
                let request = self.dice.disturb(ContainerStatusRequest { container_id, verbose: true });
                self.answered(&request, runtime.container_status(request.clone()).await);
            }
            2 => {
                let request = self.dice.disturb(ListPodSandboxRequest::default());
                self.answered(&request, runtime.list_pod_sandbox(request.clone()).await);
            }
            3 => {
                let request = self.dice.disturb(ListContainersRequest::default());
                self.answered(&request, runtime.list_containers(request.clone()).await);
            }
            4 => {
                let request = ContainerStatsRequest { container_id };
                self.answered(&request, runtime.container_stats(request.clone()).await);
            }
            5 => {
                let request = PodSandboxStatsRequest { pod_sandbox_id };
                self.answered(&request, runtime.pod_sandbox_stats(request.clone()).await);
            }
            6 => {
                let request = self.dice.disturb(ListContainerStatsRequest::default());
                self.answered(&request, runtime.list_container_stats(request.clone()).await);
            }
            7 => {
                let request = CheckpointContainerRequest { container_id, ..Default::default() };
                self.answered(&request, runtime.checkpoint_container(request.clone()).await);
            }
            _ => {
                let request = self.dice.disturb(StatusRequest { verbose: true });
                self.answered(&request, runtime.status(request).await);
            }
        }
    }

    /// The answer, if it is no refusal; a refusal must be one that a caller can act on.
    #[track_caller]
    fn answered<Q: std::fmt::Debug, A>(&mut self, request: &Q, answer: Result<Response<A>, Status>) -> Option<A> {
        let status = match answer {
            Ok(answer) => {
                self.taken += 1;
                return Some(answer.into_inner());
            }
            Err(status) => status,
        };
        self.refused += 1;
        let vague = matches!(status.code(), Code::Unknown | Code::Internal | Code::Ok | Code::Aborted | Code::DataLoss);
        assert!(!vague && !status.message().is_empty(), "{request:#?}\nwas answered with {status:?}");
        None
    }

    /// The id of a pod, or of something that is none.
    fn a_pod(&mut self) -> String {
        let known: Vec<_> = self.pods.keys().cloned().collect();
        self.an_id(&known)
    }

    fn a_container(&mut self) -> String {
        let known: Vec<_> = self.containers.keys().cloned().collect();
        self.an_id(&known)
    }

    fn an_id(&mut self, known: &[String]) -> String {
        match self.dice.below(12) {
            0 => self.dice.text(),
            1 if !self.gone.is_empty() => self.dice.pick(&self.gone).clone(),
            // As people write ids.
            2 if !known.is_empty() => self.dice.pick(known)[..12].to_owned(),
            _ if !known.is_empty() => self.dice.pick(known).clone(),
            _ => "0".repeat(64),
        }
    }

    /// The thing that an id, or the beginning of one, names.
    fn meant<'a>(&self, id: &str, mut known: impl Iterator<Item = &'a String>) -> Option<String> {
        known.find(|known| !id.is_empty() && known.starts_with(id)).cloned()
    }

    /// What is listed is what was made and not removed, and has the state that its status tells.
    pub(super) async fn check(&mut self) {
        assert!(!self.daemon.has_ended(), "the daemon ended");
        let mut difference = String::new();
        // Processes end between two answers.
        let agree = async || {
            difference = self.difference().await;
            difference.is_empty()
        };
        eventually("lists and statuses agree", agree).await;
        assert!(!self.daemon.output().contains("panicked"), "something panicked");
    }

    async fn difference(&self) -> String {
        let mut runtime = self.daemon.runtime();
        let pods = runtime.list_pod_sandbox(ListPodSandboxRequest::default()).await.expect("list").into_inner().items;
        let listed: Vec<&String> = pods.iter().map(|pod| &pod.id).collect();
        let mut made: Vec<&String> = self.pods.keys().collect();
        assert!(sorted(listed.clone()) == sorted(made.clone()), "pods {listed:?} are not {made:?}");
        for pod in &pods {
            let status = self.daemon.pod_status(&pod.id).await;
            if (status.state, &status.metadata) != (pod.state, &pod.metadata) {
                return format!("{pod:?} is not {status:?}");
            }
        }
        let request = ListContainersRequest::default();
        let containers = runtime.list_containers(request).await.expect("list").into_inner().containers;
        let listed: Vec<&String> = containers.iter().map(|container| &container.id).collect();
        made = self.containers.keys().collect();
        assert!(sorted(listed.clone()) == sorted(made.clone()), "containers {listed:?} are not {made:?}");
        for container in &containers {
            let status = self.daemon.status(&container.id).await;
            if (status.state, &status.metadata) != (container.state, &container.metadata) {
                return format!("{container:?} is not {status:?}");
            }
            assert_eq!(container.pod_sandbox_id, self.containers[&container.id]);
        }
        String::new()
    }

    /// Everything can be removed, and then there is nothing; the daemon's guard looks at the host.
    pub(super) async fn end(mut self) {
        self.check().await;
        // A sequence of one kind alone would show nothing.
        assert!(self.taken > 50 && self.refused > 50, "{} requests taken, {} refused", self.taken, self.refused);
        for pod in std::mem::take(&mut self.pods).into_keys() {
            self.daemon.remove_pod(&pod).await;
        }
        self.containers.clear();
        self.check().await;
    }
}

fn sorted(mut ids: Vec<&String>) -> Vec<&String> {
    ids.sort();
    ids
}
