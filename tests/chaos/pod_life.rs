//! The lives of pods, one after the other, as a caller has them who keeps calling until it is answered.

use std::time::Duration;

use berth::wire::{
    ListPodSandboxRequest, NamespaceMode, PodSandboxConfig, PodSandboxState, PodSandboxStatus, PodSandboxStatusRequest,
    PortMapping, RemoveContainerRequest, RemovePodSandboxRequest, RunPodSandboxRequest, StopContainerRequest,
    StopPodSandboxRequest,
};
use tokio::net::TcpStream;
use tonic::{Code, Status};

use crate::{
    actor::Actor,
    container::{Container, Phase},
    deeds,
    pictures::Pictures,
    support::{Daemon, patience, pod},
};

/// Host ports of pods, by the actor's number.
const FIRST_PORT: u64 = 12_000;
/// Containers of one pod.
const MOST: usize = 4;

/// Lives until the run is over.
pub(crate) async fn live(mut actor: Actor<'_>, number: u64, pictures: &Pictures) {
    let images: Vec<&str> =
        pictures.names.iter().map(String::as_str).filter(|name| name.contains("/shared-")).collect();
    let mut generation = 0;
    while !actor.world.is_over() {
        let port = i32::try_from(FIRST_PORT + number).expect("a port");
        let mut life = PodLife::begin(&mut actor, &format!("chaos-{number}-{generation}"), port).await;
        for _ in 0..life.actor.chance.u32(3..14) {
            if life.actor.world.is_over() {
                break;
            }
            life.deed(&images).await;
            life.check().await;
        }
        life.end().await;
        generation += 1;
    }
}

struct PodLife<'a, 'w> {
    actor: &'a mut Actor<'w>,
    config: PodSandboxConfig,
    id: String,
    /// Empty on the host's network.
    address: String,
    containers: Vec<Container>,
    /// How many containers it has had.
    count: u32,
}

impl<'a, 'w> PodLife<'a, 'w> {
    async fn begin(actor: &'a mut Actor<'w>, name: &str, port: i32) -> Self {
        let mut config = pod(&*actor.world.daemon().await, name);
        let namespaces = config.linux.as_mut().and_then(|linux| linux.security_context.as_mut());
        let namespaces = namespaces.and_then(|security| security.namespace_options.as_mut()).expect("namespaces");
        let shape = actor.chance.u32(..4);
        match shape {
            0 => namespaces.pid = NamespaceMode::Pod.into(),
            1 => namespaces.network = NamespaceMode::Node.into(),
            2 => {
                let mapping = PortMapping { container_port: 80, host_port: port, ..Default::default() };
                config.port_mappings = vec![mapping];
            }
            _ => {}
        }
        if shape == 1 {
            config.hostname.clear();
        }
        let request = RunPodSandboxRequest { config: Some(config.clone()), ..Default::default() };
        let run = async |daemon: &Daemon| daemon.runtime().run_pod_sandbox(request.clone()).await;
        let power_cuts = actor.world.promises.borrow().power_cuts();
        let id = match actor.call(&format!("run pod {name}, shape {shape}"), run).await {
            Ok(answer) => answer.into_inner().pod_sandbox_id,
            Err(status) => {
                let lost = actor.repeated && status.code() == Code::AlreadyExists;
                actor.expect(lost, || format!("run {name}: {status:?}"));
                actor.insist("find the pod", async |daemon| find(daemon, name).await).await
            }
        };
        actor.world.promises.borrow_mut().made(&id, power_cuts);
        let mut life = Self { actor, config, id, address: String::new(), containers: Vec::new(), count: 0 };
        life.address = life.status().await.network.map(|network| network.ip).unwrap_or_default();
        if !life.address.is_empty() && !life.is_on_host_network() && !life.was_killed() {
            life.actor.world.promises.borrow_mut().takes_address(&life.address, &life.id);
        }
        life
    }

    fn is_on_host_network(&self) -> bool {
        let linux = self.config.linux.as_ref().and_then(|linux| linux.security_context.as_ref());
        let options = linux.and_then(|security| security.namespace_options.as_ref());
        options.is_some_and(|options| options.network() == NamespaceMode::Node)
    }

    async fn status(&mut self) -> PodSandboxStatus {
        let request = PodSandboxStatusRequest { pod_sandbox_id: self.id.clone(), verbose: false };
        let ask = async |daemon: &Daemon| daemon.runtime().pod_sandbox_status(request.clone()).await;
        self.actor.insist("status of the pod", ask).await.into_inner().status.expect("a status")
    }

    fn was_killed(&self) -> bool {
        self.actor.world.promises.borrow().was_killed(&self.id)
    }

    /// Does something with the pod.
    async fn deed(&mut self, images: &[&str]) {
        let position = (!self.containers.is_empty()).then(|| self.actor.chance.usize(..self.containers.len()));
        let Some(position) = position.filter(|_| self.actor.chance.u32(..4) > 0 || self.containers.len() == MOST)
        else {
            return self.add(images).await;
        };
        match self.containers[position].phase {
            Phase::Created => self.start(position).await,
            Phase::Running { .. } if self.actor.chance.u32(..6) == 0 => self.stop(position).await,
            Phase::Running { .. } => deeds::do_something(self.actor, &mut self.containers[position]).await,
            Phase::Over { .. } => self.remove(position).await,
        }
    }

    /// Fails unless the pod and its containers are what they were answered to be.
    async fn check(&mut self) {
        let status = self.status().await;
        let is_ready = status.state() == PodSandboxState::SandboxReady;
        let killed = self.was_killed();
        self.actor.expect(is_ready || killed, || format!("{status:#?}"));
        if is_ready {
            let address = status.network.map(|network| network.ip).unwrap_or_default();
            self.actor.expect(address == self.address, || format!("{} is {address} now", self.address));
        }
        for container in &mut self.containers {
            container.check(self.actor).await;
        }
    }

    async fn add(&mut self, images: &[&str]) {
        let name = format!("c{}", self.count);
        self.count += 1;
        let created = Container::create(self.actor, &self.id, &self.config, &name, images).await;
        let Some(container) = created else { return };
        self.containers.push(container);
        if self.actor.chance.u32(..5) > 0 {
            self.start(self.containers.len() - 1).await;
        }
    }

    async fn start(&mut self, position: usize) {
        let container = &mut self.containers[position];
        let id = container.id.clone();
        if let Err(status) = self.actor.call(&format!("start {id}"), async |daemon| daemon.try_start(&id).await).await {
            // It may be thought to have been killed with its pod, which was made just after the power was cut.
            if container.was_killed(self.actor) && !container.runs(self.actor).await {
                return container.check(self.actor).await;
            }
            // An earlier attempt has done it.
            let lost = self.actor.repeated && status.code() == Code::FailedPrecondition;
            self.actor.expect(lost, || format!("start {id}: {status:?}"));
        }
        container.has_started(self.actor).await;
    }

    async fn stop(&mut self, position: usize) {
        let container = &mut self.containers[position];
        container.stopped = true;
        let timeout = [0, 1, 20][self.actor.chance.usize(..3)].min(if container.is_stubborn() { 1 } else { 20 });
        let request = StopContainerRequest { container_id: container.id.clone(), timeout };
        let stop = async |daemon: &Daemon| daemon.runtime().stop_container(request.clone()).await;
        let what = format!("stop {} within {timeout} s", container.id);
        if self.actor.call(&what, stop).await.is_ok() {
            container.check(self.actor).await;
            let is_over = matches!(container.phase, Phase::Over { .. }) || container.was_killed(self.actor);
            self.actor.expect(is_over, || format!("stopped, but {container:#?}"));
        } else {
            self.actor.expect(container.was_killed(self.actor), || format!("{what} failed"));
        }
    }

    async fn remove(&mut self, position: usize) {
        let container = self.containers.swap_remove(position);
        self.actor.world.promises.borrow_mut().goes(&container.id);
        self.actor.world.promises.borrow_mut().ends(&container.id);
        let request = RemoveContainerRequest { container_id: container.id.clone() };
        let remove = async |daemon: &Daemon| daemon.runtime().remove_container(request.clone()).await;
        self.actor.insist(&format!("remove {}", container.id), remove).await;
        self.actor.world.promises.borrow_mut().gone(&container.id);
    }

    /// Stops the pod and removes it, perhaps container by container, perhaps at once.
    async fn end(mut self) {
        if self.was_killed() {
            self.expect_not_ready().await;
        }
        let way = self.actor.chance.u32(..3);
        while way == 0 && !self.containers.is_empty() {
            self.remove(0).await;
        }
        for container in &mut self.containers {
            (container.stopped, container.abandoned) = (true, true);
        }
        self.actor.world.promises.borrow_mut().gives_address(&self.address, &self.id);
        if way < 2 {
            let request = StopPodSandboxRequest { pod_sandbox_id: self.id.clone() };
            let stop = async |daemon: &Daemon| daemon.runtime().stop_pod_sandbox(request.clone()).await;
            self.actor.insist("stop the pod", stop).await;
            self.expect_stopped().await;
        }
        let ids: Vec<String> =
            self.containers.iter().map(|container| container.id.clone()).chain([self.id.clone()]).collect();
        for id in &ids {
            self.actor.world.promises.borrow_mut().goes(id);
            self.actor.world.promises.borrow_mut().ends(id);
        }
        let request = RemovePodSandboxRequest { pod_sandbox_id: self.id.clone() };
        let remove = async |daemon: &Daemon| daemon.runtime().remove_pod_sandbox(request.clone()).await;
        self.actor.insist("remove the pod", remove).await;
        for id in &ids {
            self.actor.world.promises.borrow_mut().gone(id);
        }
    }

    /// Its monitor was killed: the daemon must come to know of it by itself.
    async fn expect_not_ready(&mut self) {
        let limit = self.actor.world.age() + patience(20);
        while self.status().await.state() == PodSandboxState::SandboxReady {
            let is_late = self.actor.world.age() > limit;
            self.actor.expect(!is_late, || "the monitor is dead, and its pod is ready".to_owned());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn expect_stopped(&mut self) {
        let status = self.status().await;
        self.actor.expect(status.state() == PodSandboxState::SandboxNotready, || format!("stopped, but {status:#?}"));
        for container in &mut self.containers {
            let was_created = container.phase == Phase::Created;
            if !was_created {
                container.check(self.actor).await;
                self.actor.expect(matches!(container.phase, Phase::Over { .. }), || format!("{container:#?}"));
            }
        }
        if let Some(mapping) = self.config.port_mappings.first() {
            let port = u16::try_from(mapping.host_port).expect("a port");
            let connected = TcpStream::connect(("127.0.0.1", port)).await;
            self.actor.expect(connected.is_err(), || format!("port {port} is still open"));
        }
    }
}

async fn find(daemon: &Daemon, name: &str) -> Result<String, Status> {
    let pods = daemon.runtime().list_pod_sandbox(ListPodSandboxRequest::default()).await?.into_inner().items;
    let mut found = pods.into_iter().filter(|pod| pod.metadata.as_ref().is_some_and(|metadata| metadata.name == name));
    Ok(found.next().expect("a pod whose name is taken is listed").id)
}
