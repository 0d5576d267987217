//! What a daemon goes through in a life, as kubelet has it: each call is made again when the daemon died in it.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use berth::wire::{
    ContainerConfig, ContainerState, ContainerStatus, ContainerStatusRequest, CreateContainerRequest, ImageSpec,
    LinuxContainerResources, ListContainersRequest, ListImagesRequest, ListPodSandboxRequest, PodSandboxConfig,
    PodSandboxStatusRequest, PullImageRequest, RemoveContainerRequest, RemoveImageRequest, RemovePodSandboxRequest,
    RunPodSandboxRequest, StopContainerRequest, StopPodSandboxRequest, UpdateContainerResourcesRequest,
};
use tokio::{io::AsyncReadExt as _, process::Command};
use tonic::{Code, Status};

use crate::{
    promises::Promises,
    support::{Daemon, Registry, eventually, patience, pod, shell},
    transfer::{push, save},
};

/// Lives it, and says how often the daemon died on the way.
pub(crate) async fn live(daemon: &mut Daemon, image: &str) -> u32 {
    let mut life = Life { daemon, promises: Promises::default(), deaths: 0 };
    life.pull(image).await;
    life.push(image).await;
    life.save(image).await;
    let config = pod(life.daemon, "p");
    let pod = life.run_pod(&config).await;
    let with_image = |mut config: ContainerConfig| {
        config.image.get_or_insert_default().image = image.to_owned();
        config
    };
    let endless = shell("endless", "while :; do echo word; sleep 0.1; done");
    let endless = life.create(&pod, &with_image(endless), &config).await;
    life.start(&endless).await;
    life.exec(&endless).await;
    life.attach(&endless).await;
    life.update(&endless).await;
    let short = life.create(&pod, &with_image(shell("short", "exit 3")), &config).await;
    life.start(&short).await;
    life.wait_for_end(&short, 3).await;
    life.stop(&endless).await;
    life.remove(&endless).await;
    let left = life.create(&pod, &with_image(shell("left", "while :; do sleep 0.1; done")), &config).await;
    life.start(&left).await;
    life.stop_pod(&pod).await;
    life.wait_for_end(&left, 137).await;
    life.remove_pod(&pod).await;
    life.remove_image(image).await;
    life.deaths
}

/// Lives a life that is nothing but a pod's, and says how often the daemon died on the way.
pub(crate) async fn live_for_a_pod(daemon: &mut Daemon) -> u32 {
    let mut life = Life { daemon, promises: Promises::default(), deaths: 0 };
    let config = pod(life.daemon, "p");
    let pod = life.run_pod(&config).await;
    life.stop_pod(&pod).await;
    life.remove_pod(&pod).await;
    life.deaths
}

struct Life<'a> {
    daemon: &'a mut Daemon,
    promises: Promises,
    deaths: u32,
}

impl Life<'_> {
    /// Calls until it is answered by a living daemon.
    async fn insist<T>(&mut self, what: &str, call: impl AsyncFn(&Daemon) -> Result<T, Status>) -> T {
        loop {
            match call(self.daemon).await {
                Ok(answer) => return answer,
                Err(status) => self.mourn(what, &status).await,
            }
        }
    }

    /// After a failed call: the daemon must have died, and is started again.
    async fn mourn(&mut self, what: &str, status: &Status) {
        let lost = matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal);
        assert!(lost, "{what}: {status:?}");
        eventually(&format!("it died, because {what}: {status:?}"), async || self.daemon.has_ended()).await;
        self.deaths += 1;
        self.daemon.start_again().await;
        self.promises.check(self.daemon).await;
    }

    async fn pull(&mut self, image: &str) {
        let request = PullImageRequest { image: spec(image), ..Default::default() };
        self.insist("pull", async |daemon| daemon.image().pull_image(request.clone()).await).await;
        self.promises.image = Some(image.to_owned());
    }

    async fn push(&mut self, image: &str) {
        let destination = format!("{}/copy:1", Registry::ADDRESS);
        self.insist("push", async |daemon| push(daemon, image, &destination).await).await;
    }

    async fn save(&mut self, image: &str) {
        let length = self.insist("save", async |daemon| save(daemon, image).await).await;
        assert!(length > 100_000, "an archive of {length} bytes");
    }

    async fn run_pod(&mut self, config: &PodSandboxConfig) -> String {
        let request = RunPodSandboxRequest { config: Some(config.clone()), ..Default::default() };
        let run = async |daemon: &Daemon| match daemon.runtime().run_pod_sandbox(request.clone()).await {
            Ok(answer) => Ok(answer.into_inner().pod_sandbox_id),
            // The one whose answer was lost.
            Err(status) if status.code() == Code::AlreadyExists => {
                let pods = daemon.runtime().list_pod_sandbox(ListPodSandboxRequest::default()).await?.into_inner();
                Ok(pods.items.first().expect("a pod that exists is listed").id.clone())
            }
            Err(status) => Err(status),
        };
        let id = self.insist("run a pod", run).await;
        let request = PodSandboxStatusRequest { pod_sandbox_id: id.clone(), verbose: false };
        let ask = async |daemon: &Daemon| daemon.runtime().pod_sandbox_status(request.clone()).await;
        let status = self.insist("ask for the pod's status", ask).await.into_inner().status.expect("a status");
        self.promises.pod = Some((id.clone(), status.network.expect("a network").ip));
        id
    }

    async fn create(&mut self, pod: &str, config: &ContainerConfig, pod_config: &PodSandboxConfig) -> String {
        let request = CreateContainerRequest {
            pod_sandbox_id: pod.to_owned(),
            config: Some(config.clone()),
            sandbox_config: Some(pod_config.clone()),
        };
        let name = &config.metadata.as_ref().expect("metadata").name;
        let create = async |daemon: &Daemon| match daemon.runtime().create_container(request.clone()).await {
            Ok(answer) => Ok(answer.into_inner().container_id),
            Err(status) if status.code() == Code::AlreadyExists => {
                let all = daemon.runtime().list_containers(ListContainersRequest::default()).await?.into_inner();
                let mut found =
                    all.containers.into_iter().filter(|c| &c.metadata.as_ref().expect("metadata").name == name);
                Ok(found.next().expect("a container that exists is listed").id)
            }
            Err(status) => Err(status),
        };
        let id = self.insist("create a container", create).await;
        self.promises.set(&id, ContainerState::ContainerCreated, None);
        id
    }

    async fn start(&mut self, container: &str) {
        let start = async |daemon: &Daemon| match daemon.try_start(container).await {
            // It was started, and the answer was lost.
            Err(status) if status.code() == Code::FailedPrecondition => {
                assert_ne!(
                    try_status(daemon, container).await?.0.state(),
                    ContainerState::ContainerCreated,
                    "{status:?}"
                );
                Ok(())
            }
            other => other,
        };
        // From the first attempt on it may run, whatever was answered.
        self.promises.forget(container);
        self.insist("start a container", start).await;
        let (status, pid) = self.status(container).await;
        if status.state() == ContainerState::ContainerRunning {
            self.promises.set(container, ContainerState::ContainerRunning, pid);
        }
    }

    async fn status(&mut self, container: &str) -> (ContainerStatus, Option<i32>) {
        self.insist("ask for a status", async |daemon| try_status(daemon, container).await).await
    }

    async fn exec(&mut self, container: &str) {
        let exec = async |daemon: &Daemon| daemon.try_exec(container, &["echo", "word"], 10).await;
        let answer = self.insist("execute", exec).await;
        assert_eq!((answer.stdout.as_slice(), answer.exit_code), (&b"word\n"[..], 0));
    }

    /// Sees a word of what the container writes.
    async fn attach(&mut self, container: &str) {
        let attach = async |daemon: &Daemon| {
            let mut command = Command::from(daemon.cli(&["attach", container]));
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
            let mut client = command.spawn().expect("run berth");
            let mut word = [0; 5];
            let read = client.stdout.take().expect("its output").read_exact(&mut word).await;
            read.map(|_| word).map_err(|error| Status::unavailable(error.to_string()))
        };
        assert_eq!(&self.insist("attach", attach).await, b"word\n");
    }

    async fn update(&mut self, container: &str) {
        const MEMORY: i64 = 100 << 20;
        let linux = LinuxContainerResources { memory_limit_in_bytes: MEMORY, ..Default::default() };
        let request = UpdateContainerResourcesRequest {
            container_id: container.to_owned(),
            linux: Some(linux),
            ..Default::default()
        };
        let update = async |daemon: &Daemon| daemon.runtime().update_container_resources(request.clone()).await;
        self.insist("update", update).await;
        let (status, _) = self.status(container).await;
        let linux = status.resources.and_then(|resources| resources.linux).expect("resources");
        assert_eq!(linux.memory_limit_in_bytes, MEMORY);
    }

    async fn wait_for_end(&mut self, container: &str, code: i32) {
        self.promises.forget(container);
        let started = Instant::now();
        let status = loop {
            let (status, _) = self.status(container).await;
            if status.state() == ContainerState::ContainerExited {
                break status;
            }
            assert!(started.elapsed() < patience(10), "{status:#?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        assert_eq!(status.exit_code, code, "{status:#?}");
        self.promises.set(container, ContainerState::ContainerExited, None);
    }

    async fn stop(&mut self, container: &str) {
        self.promises.forget(container);
        let request = StopContainerRequest { container_id: container.to_owned(), timeout: 0 };
        self.insist("stop", async |daemon| daemon.runtime().stop_container(request.clone()).await).await;
        self.promises.set(container, ContainerState::ContainerExited, None);
    }

    async fn remove(&mut self, container: &str) {
        self.promises.forget(container);
        let request = RemoveContainerRequest { container_id: container.to_owned() };
        self.insist("remove", async |daemon| daemon.runtime().remove_container(request.clone()).await).await;
    }

    async fn stop_pod(&mut self, pod: &str) {
        self.promises.pod = None;
        self.promises.containers.clear();
        let request = StopPodSandboxRequest { pod_sandbox_id: pod.to_owned() };
        self.insist("stop a pod", async |daemon| daemon.runtime().stop_pod_sandbox(request.clone()).await).await;
    }

    async fn remove_pod(&mut self, pod: &str) {
        self.promises.containers.clear();
        let request = RemovePodSandboxRequest { pod_sandbox_id: pod.to_owned() };
        self.insist("remove a pod", async |daemon| daemon.runtime().remove_pod_sandbox(request.clone()).await).await;
        let list = async |daemon: &Daemon| daemon.runtime().list_pod_sandbox(ListPodSandboxRequest::default()).await;
        assert!(self.insist("list pods", list).await.into_inner().items.is_empty(), "a pod is left");
    }

    async fn remove_image(&mut self, image: &str) {
        self.promises.image = None;
        let request = RemoveImageRequest { image: spec(image) };
        self.insist("remove an image", async |daemon| daemon.image().remove_image(request.clone()).await).await;
        self.insist("list images", async |daemon| daemon.image().list_images(ListImagesRequest::default()).await).await;
    }
}

/// A container's status, and its process if it runs.
async fn try_status(daemon: &Daemon, container: &str) -> Result<(ContainerStatus, Option<i32>), Status> {
    let request = ContainerStatusRequest { container_id: container.to_owned(), verbose: true };
    let answer = daemon.runtime().container_status(request).await?.into_inner();
    let info: serde_json::Value = serde_json::from_str(&answer.info["info"]).expect("info is JSON");
    let pid = info["pid"].as_i64().and_then(|pid| pid.try_into().ok()).filter(|pid| *pid > 0);
    Ok((answer.status.expect("a status"), pid))
}

fn spec(image: &str) -> Option<ImageSpec> {
    Some(ImageSpec { image: image.to_owned(), ..Default::default() })
}
