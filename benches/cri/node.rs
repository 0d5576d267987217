//! A CRI engine that is measured.

use std::{
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use berth::wire::{
    ContainerConfig, ContainerMetadata, CreateContainerRequest, ImageSpec, LinuxContainerConfig,
    LinuxContainerSecurityContext, LinuxPodSandboxConfig, LinuxSandboxSecurityContext, NamespaceMode, NamespaceOption,
    PodSandboxConfig, PodSandboxMetadata, PullImageRequest, RemoveImageRequest, RemovePodSandboxRequest,
    RunPodSandboxRequest, StartContainerRequest, StopPodSandboxRequest, VersionRequest,
    image_service_client::ImageServiceClient, runtime_service_client::RuntimeServiceClient,
};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

/// A connection to an engine, and what its pods are made of.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    channel: Channel,
    image: String,
}

/// A pod with a running container.
#[derive(Debug)]
pub(crate) struct Pod {
    pub(crate) id: String,
    pub(crate) container: String,
    /// What each of the calls that made it took: RunPodSandbox, CreateContainer, StartContainer.
    pub(crate) steps: [Duration; 3],
}

impl Node {
    /// Connects; pods are made of `image`, which has to be pulled first.
    pub(crate) async fn connect(socket: &Path, image: &str) -> Self {
        let socket = socket.to_owned();
        let connector = tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { io::Result::Ok(TokioIo::new(UnixStream::connect(socket).await?)) }
        });
        let channel = Endpoint::from_static("http://localhost").connect_with_connector(connector).await;
        Self { channel: channel.expect("connect to the engine"), image: image.to_owned() }
    }

    /// Client of the runtime service.
    pub(crate) fn runtime(&self) -> RuntimeServiceClient<Channel> {
        RuntimeServiceClient::new(self.channel.clone()).max_decoding_message_size(64 << 20)
    }

    fn images(&self) -> ImageServiceClient<Channel> {
        ImageServiceClient::new(self.channel.clone())
    }

    /// The engine's name and version.
    pub(crate) async fn name(&self) -> String {
        let version = self.runtime().version(VersionRequest::default()).await.expect("version").into_inner();
        format!("{} {}", version.runtime_name, version.runtime_version)
    }

    /// Pulls an image.
    pub(crate) async fn pull(&self, image: &str) {
        let request = PullImageRequest { image: spec(image), ..Default::default() };
        self.images().pull_image(request).await.expect("pull");
    }

    /// Removes an image.
    pub(crate) async fn remove_image(&self, image: &str) {
        self.images().remove_image(RemoveImageRequest { image: spec(image) }).await.expect("remove an image");
    }

    /// Makes a pod whose container runs.
    pub(crate) async fn run(&self, name: &str) -> Pod {
        let namespaces = NamespaceOption { pid: NamespaceMode::Container.into(), ..Default::default() };
        let config = PodSandboxConfig {
            metadata: Some(PodSandboxMetadata {
                name: name.to_owned(),
                uid: format!("{name}-{}", std::process::id()),
                namespace: "bench".to_owned(),
                attempt: 0,
            }),
            log_directory: log_root().join(name).display().to_string(),
            linux: Some(LinuxPodSandboxConfig {
                security_context: Some(LinuxSandboxSecurityContext {
                    namespace_options: Some(namespaces.clone()),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        };
        let container = ContainerConfig {
            metadata: Some(ContainerMetadata { name: "c".to_owned(), attempt: 0 }),
            image: spec(&self.image),
            command: ["sleep", "100000"].map(str::to_owned).to_vec(),
            log_path: "c.log".to_owned(),
            linux: Some(LinuxContainerConfig {
                security_context: Some(LinuxContainerSecurityContext {
                    namespace_options: Some(namespaces),
                    seccomp: Some(berth::wire::SecurityProfile::default()),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        };
        let mut runtime = self.runtime();
        let request = RunPodSandboxRequest { config: Some(config.clone()), ..Default::default() };
        let began = Instant::now();
        let id = runtime.run_pod_sandbox(request).await.expect("run a pod").into_inner().pod_sandbox_id;
        let ran = Instant::now();
        let request = CreateContainerRequest {
            pod_sandbox_id: id.clone(),
            config: Some(container),
            sandbox_config: Some(config),
        };
        let container = runtime.create_container(request).await.expect("create").into_inner().container_id;
        let created = Instant::now();
        let request = StartContainerRequest { container_id: container.clone() };
        runtime.start_container(request).await.expect("start");
        Pod { id, container, steps: [ran - began, created - ran, created.elapsed()] }
    }

    /// Stops and removes a pod.
    pub(crate) async fn remove(&self, pod: &Pod) {
        let request = StopPodSandboxRequest { pod_sandbox_id: pod.id.clone() };
        self.runtime().stop_pod_sandbox(request).await.expect("stop a pod");
        let request = RemovePodSandboxRequest { pod_sandbox_id: pod.id.clone() };
        self.runtime().remove_pod_sandbox(request).await.expect("remove a pod");
    }
}

/// Directory of the containers' logs, which engines leave to their callers.
pub(crate) fn log_root() -> PathBuf {
    std::env::temp_dir().join(format!("berth-bench-{}", std::process::id()))
}

fn spec(image: &str) -> Option<ImageSpec> {
    Some(ImageSpec { image: image.to_owned(), ..Default::default() })
}
