//! RuntimeService.

use std::time::Duration;

use tonic::{Request, Response, Status};
use tracing::Span;

use super::{
    Door,
    batch::{Batches, batches},
    container_id, pod_id, verbose,
};
use crate::{
    cri::{
        convert::{Invalid, absolute_path, arguments, container, each, metrics, node, pod, required, resources, usage},
        status::creation_failed,
    },
    engine::{ContainerFilter, ContainerView, PodView},
    streaming::{Streams, Ticket},
    types::Timestamp,
    wire::{runtime_service_server::RuntimeService, *},
};

impl Door {
    fn pods(&self, filter: Option<PodSandboxFilter>) -> Result<Vec<PodSandbox>, Status> {
        let pods = self.engine()?.pods(&pod::filter_from_wire(filter)?);
        Ok(pods.iter().map(pod::item_to_wire).collect())
    }

    fn containers(&self, filter: Option<crate::wire::ContainerFilter>) -> Result<Vec<Container>, Status> {
        let containers = self.engine()?.containers(&container::filter_from_wire(filter)?);
        Ok(containers.iter().map(container::item_to_wire).collect())
    }

    async fn container_usages(&self, filter: Option<ContainerStatsFilter>) -> Result<Vec<ContainerStats>, Status> {
        let usages = self.engine()?.container_usages(&usage::container_filter_from_wire(filter)).await?;
        Ok(usages.iter().map(usage::container_to_wire).collect())
    }

    async fn pod_usages(&self, filter: Option<PodSandboxStatsFilter>) -> Result<Vec<PodSandboxStats>, Status> {
        let usages = self.engine()?.pod_usages(&usage::pod_filter_from_wire(filter)).await?;
        Ok(usages.iter().map(usage::pod_to_wire).collect())
    }

    async fn pod_metrics(&self) -> Result<Vec<PodSandboxMetrics>, Status> {
        Ok(metrics::to_wire(&self.engine()?.metrics().await?))
    }

    fn containers_of(&self, pod: &PodView) -> Result<Vec<ContainerView>, Status> {
        let of_pod = ContainerFilter { pod_id: Some(pod.id.to_string()), ..Default::default() };
        Ok(self.engine()?.containers(&of_pod))
    }
}

#[tonic::async_trait]
impl RuntimeService for Door {
    async fn version(&self, _request: Request<VersionRequest>) -> Result<Response<VersionResponse>, Status> {
        self.awaited_engine().await?;
        Ok(Response::new(node::version_to_wire()))
    }

    async fn run_pod_sandbox(
        &self,
        request: Request<RunPodSandboxRequest>,
    ) -> Result<Response<RunPodSandboxResponse>, Status> {
        let config = pod::from_wire(request.into_inner())?;
        let id = self.engine()?.run_pod(config).await?;
        Span::current().record("pod", id.as_str());
        Ok(Response::new(RunPodSandboxResponse { pod_sandbox_id: id.to_string() }))
    }

    async fn stop_pod_sandbox(
        &self,
        request: Request<StopPodSandboxRequest>,
    ) -> Result<Response<StopPodSandboxResponse>, Status> {
        let id = pod_id(request.into_inner().pod_sandbox_id)?;
        self.engine()?.stop_pod(&id).await?;
        Ok(Response::new(StopPodSandboxResponse {}))
    }

    async fn remove_pod_sandbox(
        &self,
        request: Request<RemovePodSandboxRequest>,
    ) -> Result<Response<RemovePodSandboxResponse>, Status> {
        let id = pod_id(request.into_inner().pod_sandbox_id)?;
        self.engine()?.remove_pod(&id).await?;
        Ok(Response::new(RemovePodSandboxResponse {}))
    }

    async fn pod_sandbox_status(
        &self,
        request: Request<PodSandboxStatusRequest>,
    ) -> Result<Response<PodSandboxStatusResponse>, Status> {
        let request = request.into_inner();
        let engine = self.engine()?;
        // kubelet compares it with the times of events: what they told by then, the states below must hold.
        let timestamp = Timestamp::now().0;
        let pod = engine.pod(&pod_id(request.pod_sandbox_id)?)?;
        let details = || Some(pod::details(&pod, engine.pod_spec(pod.id.as_str()).unwrap_or_default()));
        let containers = self.containers_of(&pod)?;
        Ok(Response::new(PodSandboxStatusResponse {
            status: Some(pod::status_to_wire(&pod)),
            info: verbose(request.verbose, details),
            containers_statuses: containers.iter().map(container::status_to_wire).collect(),
            timestamp,
        }))
    }

    async fn list_pod_sandbox(
        &self,
        request: Request<ListPodSandboxRequest>,
    ) -> Result<Response<ListPodSandboxResponse>, Status> {
        let items = self.pods(request.into_inner().filter)?;
        Ok(Response::new(ListPodSandboxResponse { items }))
    }

    async fn stream_pod_sandboxes(
        &self,
        request: Request<StreamPodSandboxesRequest>,
    ) -> Result<Response<Batches<StreamPodSandboxesResponse>>, Status> {
        let pods = self.pods(request.into_inner().filter)?;
        batches(pods, |pod_sandboxes| StreamPodSandboxesResponse { pod_sandboxes })
    }

    async fn create_container(
        &self,
        request: Request<CreateContainerRequest>,
    ) -> Result<Response<CreateContainerResponse>, Status> {
        let request = request.into_inner();
        let pod = pod_id(request.pod_sandbox_id)?;
        let config =
            container::config_from_wire(required("config", request.config)?).map_err(|e| e.within("config"))?;
        let created = self.engine()?.create_container(&pod, config).await;
        let container_id = created.map_err(|error| creation_failed(&error))?.to_string();
        Span::current().record("container", &container_id);
        Ok(Response::new(CreateContainerResponse { container_id }))
    }

    async fn start_container(
        &self,
        request: Request<StartContainerRequest>,
    ) -> Result<Response<StartContainerResponse>, Status> {
        let id = container_id(request.into_inner().container_id)?;
        self.engine()?.start_container(&id).await?;
        Ok(Response::new(StartContainerResponse {}))
    }

    async fn stop_container(
        &self,
        request: Request<StopContainerRequest>,
    ) -> Result<Response<StopContainerResponse>, Status> {
        let request = request.into_inner();
        let id = container_id(request.container_id)?;
        let grace = seconds("timeout", request.timeout)?;
        self.engine()?.stop_container(&id, grace).await?;
        Ok(Response::new(StopContainerResponse {}))
    }

    async fn remove_container(
        &self,
        request: Request<RemoveContainerRequest>,
    ) -> Result<Response<RemoveContainerResponse>, Status> {
        let id = container_id(request.into_inner().container_id)?;
        self.engine()?.remove_container(&id).await?;
        Ok(Response::new(RemoveContainerResponse {}))
    }

    async fn list_containers(
        &self,
        request: Request<ListContainersRequest>,
    ) -> Result<Response<ListContainersResponse>, Status> {
        let containers = self.containers(request.into_inner().filter)?;
        Ok(Response::new(ListContainersResponse { containers }))
    }

    async fn stream_containers(
        &self,
        request: Request<StreamContainersRequest>,
    ) -> Result<Response<Batches<StreamContainersResponse>>, Status> {
        let containers = self.containers(request.into_inner().filter)?;
        batches(containers, |containers| StreamContainersResponse { containers })
    }

    async fn container_status(
        &self,
        request: Request<ContainerStatusRequest>,
    ) -> Result<Response<ContainerStatusResponse>, Status> {
        let request = request.into_inner();
        let id = container_id(request.container_id)?;
        let engine = self.engine()?;
        let container = engine.container(&id)?;
        // What is gone, such as a seccomp profile's file, must not keep the rest from being told.
        let (plan, spec) = (|| engine.container_plan(&id).unwrap_or_default(), || engine.container_spec(&id));
        let details = || Some(container::details(&container, plan(), spec().unwrap_or_default()));
        let info = verbose(request.verbose, details);
        Ok(Response::new(ContainerStatusResponse { status: Some(container::status_to_wire(&container)), info }))
    }

    async fn update_container_resources(
        &self,
        request: Request<UpdateContainerResourcesRequest>,
    ) -> Result<Response<UpdateContainerResourcesResponse>, Status> {
        let request = request.into_inner();
        let id = container_id(request.container_id)?;
        let limits = resources::from_wire(required("linux", request.linux)?).map_err(|e| e.within("linux"))?;
        self.engine()?.update_resources(&id, limits).await?;
        Ok(Response::new(UpdateContainerResourcesResponse {}))
    }

    async fn reopen_container_log(
        &self,
        request: Request<ReopenContainerLogRequest>,
    ) -> Result<Response<ReopenContainerLogResponse>, Status> {
        let id = container_id(request.into_inner().container_id)?;
        self.engine()?.reopen_log(&id).await?;
        Ok(Response::new(ReopenContainerLogResponse {}))
    }

    async fn exec_sync(&self, request: Request<ExecSyncRequest>) -> Result<Response<ExecSyncResponse>, Status> {
        let request = request.into_inner();
        let id = container_id(request.container_id)?;
        let command = command("cmd", request.cmd)?;
        let limit = Some(seconds("timeout", request.timeout)?).filter(|limit| !limit.is_zero());
        let output = self.engine()?.exec_sync(&id, command, limit).await?;
        Ok(Response::new(ExecSyncResponse { stdout: output.stdout, stderr: output.stderr, exit_code: output.code }))
    }

    async fn exec(&self, request: Request<ExecRequest>) -> Result<Response<ExecResponse>, Status> {
        let request = request.into_inner();
        let id = container_id(request.container_id)?;
        let command = command("cmd", request.cmd)?;
        let streams = streams(request.tty, request.stdin, request.stdout, request.stderr)?;
        let container = self.engine()?.check_running(&id)?.to_string();
        let url = self.url(Ticket::Exec { container, command, streams })?;
        Ok(Response::new(ExecResponse { url }))
    }

    async fn attach(&self, request: Request<AttachRequest>) -> Result<Response<AttachResponse>, Status> {
        let request = request.into_inner();
        let id = container_id(request.container_id)?;
        let streams = streams(request.tty, request.stdin, request.stdout, request.stderr)?;
        let container = self.engine()?.check_attachable(&id)?.to_string();
        let url = self.url(Ticket::Attach { container, streams })?;
        Ok(Response::new(AttachResponse { url }))
    }

    async fn port_forward(
        &self,
        request: Request<PortForwardRequest>,
    ) -> Result<Response<PortForwardResponse>, Status> {
        let request = request.into_inner();
        let id = pod_id(request.pod_sandbox_id)?;
        let ports = each("port", request.port, |port| pod::port_number("", port, 1))?;
        let pod = self.engine()?.check_ready(&id)?.to_string();
        let url = self.url(Ticket::PortForward { pod, ports })?;
        Ok(Response::new(PortForwardResponse { url }))
    }

    async fn container_stats(
        &self,
        request: Request<ContainerStatsRequest>,
    ) -> Result<Response<ContainerStatsResponse>, Status> {
        let id = container_id(request.into_inner().container_id)?;
        let stats = self.engine()?.container_usage(&id).await?;
        Ok(Response::new(ContainerStatsResponse { stats: Some(usage::container_to_wire(&stats)) }))
    }

    async fn list_container_stats(
        &self,
        request: Request<ListContainerStatsRequest>,
    ) -> Result<Response<ListContainerStatsResponse>, Status> {
        let stats = self.container_usages(request.into_inner().filter).await?;
        Ok(Response::new(ListContainerStatsResponse { stats }))
    }

    async fn stream_container_stats(
        &self,
        request: Request<StreamContainerStatsRequest>,
    ) -> Result<Response<Batches<StreamContainerStatsResponse>>, Status> {
        let stats = self.container_usages(request.into_inner().filter).await?;
        batches(stats, |container_stats| StreamContainerStatsResponse { container_stats })
    }

    async fn pod_sandbox_stats(
        &self,
        request: Request<PodSandboxStatsRequest>,
    ) -> Result<Response<PodSandboxStatsResponse>, Status> {
        let id = pod_id(request.into_inner().pod_sandbox_id)?;
        let stats = self.engine()?.pod_usage(&id).await?;
        Ok(Response::new(PodSandboxStatsResponse { stats: Some(usage::pod_to_wire(&stats)) }))
    }

    async fn list_pod_sandbox_stats(
        &self,
        request: Request<ListPodSandboxStatsRequest>,
    ) -> Result<Response<ListPodSandboxStatsResponse>, Status> {
        let stats = self.pod_usages(request.into_inner().filter).await?;
        Ok(Response::new(ListPodSandboxStatsResponse { stats }))
    }

    async fn stream_pod_sandbox_stats(
        &self,
        request: Request<StreamPodSandboxStatsRequest>,
    ) -> Result<Response<Batches<StreamPodSandboxStatsResponse>>, Status> {
        let stats = self.pod_usages(request.into_inner().filter).await?;
        batches(stats, |pod_sandbox_stats| StreamPodSandboxStatsResponse { pod_sandbox_stats })
    }

    async fn update_runtime_config(
        &self,
        request: Request<UpdateRuntimeConfigRequest>,
    ) -> Result<Response<UpdateRuntimeConfigResponse>, Status> {
        let network = request.into_inner().runtime_config.and_then(|config| config.network_config);
        let engine = self.engine()?;
        if let Some(cidr) = network.map(|network| network.pod_cidr).filter(|cidr| !cidr.is_empty()) {
            engine.network().set_pod_cidr(&cidr).await?;
        }
        Ok(Response::new(UpdateRuntimeConfigResponse {}))
    }

    async fn status(&self, request: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let engine = self.engine()?;
        let settings = || ("config".to_owned(), self.config.settings.to_string());
        let info = request.into_inner().verbose.then(settings).into_iter().collect();
        Ok(Response::new(StatusResponse {
            status: Some(node::conditions_to_wire(engine.network().status().await)),
            info,
            runtime_handlers: node::handlers_to_wire(&self.config.handlers, engine.host().kernel),
            features: Some(RuntimeFeatures { supplemental_groups_policy: true, user_namespaces_host_network: true }),
        }))
    }

    async fn checkpoint_container(
        &self,
        request: Request<CheckpointContainerRequest>,
    ) -> Result<Response<CheckpointContainerResponse>, Status> {
        let CheckpointContainerRequest { container_id, location, timeout } = request.into_inner();
        let location = absolute_path("location", location)?;
        let patience = seconds("timeout", timeout)?;
        self.engine()?.checkpoint_container(&container_id, location.into(), patience).await?;
        Ok(Response::new(CheckpointContainerResponse {}))
    }

    async fn get_container_events(
        &self,
        _request: Request<GetEventsRequest>,
    ) -> Result<Response<Batches<ContainerEventResponse>>, Status> {
        Ok(Response::new(self.events()?))
    }

    async fn list_metric_descriptors(
        &self,
        _request: Request<ListMetricDescriptorsRequest>,
    ) -> Result<Response<ListMetricDescriptorsResponse>, Status> {
        self.engine()?;
        Ok(Response::new(ListMetricDescriptorsResponse { descriptors: metrics::descriptors_to_wire() }))
    }

    async fn list_pod_sandbox_metrics(
        &self,
        _request: Request<ListPodSandboxMetricsRequest>,
    ) -> Result<Response<ListPodSandboxMetricsResponse>, Status> {
        let pod_metrics = self.pod_metrics().await?;
        Ok(Response::new(ListPodSandboxMetricsResponse { pod_metrics }))
    }

    async fn stream_pod_sandbox_metrics(
        &self,
        _request: Request<StreamPodSandboxMetricsRequest>,
    ) -> Result<Response<Batches<StreamPodSandboxMetricsResponse>>, Status> {
        let metrics = self.pod_metrics().await?;
        batches(metrics, |pod_sandbox_metrics| StreamPodSandboxMetricsResponse { pod_sandbox_metrics })
    }

    async fn runtime_config(
        &self,
        _request: Request<RuntimeConfigRequest>,
    ) -> Result<Response<RuntimeConfigResponse>, Status> {
        self.engine()?;
        Ok(Response::new(node::cgroup_driver_to_wire(self.config.cgroup_driver)))
    }

    async fn update_pod_sandbox_resources(
        &self,
        request: Request<UpdatePodSandboxResourcesRequest>,
    ) -> Result<Response<UpdatePodSandboxResourcesResponse>, Status> {
        let request = request.into_inner();
        let id = pod_id(request.pod_sandbox_id)?;
        let limits =
            resources::from_wire(required("resources", request.resources)?).map_err(|e| e.within("resources"))?;
        self.engine()?.update_pod_resources(&id, limits).await?;
        Ok(Response::new(UpdatePodSandboxResourcesResponse {}))
    }
}

/// A time in whole seconds; negative ones are refused.
fn seconds(field: &str, seconds: i64) -> Result<Duration, Invalid> {
    let seconds =
        u64::try_from(seconds).map_err(|_| Invalid::new(field, format!("must not be negative: {seconds}")))?;
    Ok(Duration::from_secs(seconds))
}

/// A command line that is there.
fn command(field: &str, words: Vec<String>) -> Result<Vec<String>, Invalid> {
    if words.is_empty() {
        return Err(Invalid::new(field, "is empty"));
    }
    arguments(field, words)
}

/// At least one stream, and with a terminal no separate standard error.
fn streams(tty: bool, stdin: bool, stdout: bool, stderr: bool) -> Result<Streams, Invalid> {
    if tty && stderr {
        return Err(Invalid::new("stderr", "cannot be separate with a terminal (tty)"));
    }
    if !(stdin || stdout || stderr) {
        return Err(Invalid::new("stdin, stdout, stderr", "are all off: there is nothing to stream"));
    }
    Ok(Streams { stdin, stdout, stderr, tty })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_streamed_is_refused() {
        streams(true, true, true, false).expect("a terminal");
        streams(false, false, false, true).expect("standard error alone");
        streams(true, true, true, true).expect_err("a terminal has one output");
        streams(false, false, false, false).expect_err("nothing");
        streams(true, false, false, false).expect_err("nothing but a terminal");
    }

    #[test]
    fn times_and_commands_are_checked() {
        assert_eq!(seconds("timeout", 86_400), Ok(Duration::from_secs(86_400)));
        assert_eq!(seconds("timeout", 0), Ok(Duration::ZERO));
        seconds("timeout", -1).expect_err("negative");
        command("cmd", Vec::new()).expect_err("empty");
        command("cmd", vec![String::new()]).expect("the executor says that there is no such program");
    }
}
