//! What the engine says of itself, and how it is reached.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use berth::wire::{
    CgroupDriver, ImageFsInfoRequest, ImageSpec, PullImageRequest, RuntimeConfigRequest, StatusRequest,
    UpdateRuntimeConfigRequest, VersionRequest,
};
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use crate::support::{Daemon, container, eventually, pod, refusal};

#[tokio::test]
async fn the_version_passes_kubelets_gate() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let version =
        daemon.runtime().version(VersionRequest { version: "v1".into() }).await.expect("version").into_inner();
    assert_eq!(version.version, "0.1.0");
    assert_eq!(version.runtime_api_version, "v1");
    assert_eq!(version.runtime_name, "berth");
    assert_eq!(version.runtime_version.split('.').count(), 3, "{version:?}");
}

#[tokio::test]
async fn the_engine_and_its_network_are_ready_and_the_default_handler_is_named() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let answer = daemon.runtime().status(StatusRequest { verbose: true }).await.expect("status").into_inner();
    for wanted in ["RuntimeReady", "NetworkReady"] {
        let status = answer.status.as_ref().expect("a status");
        let condition = status.conditions.iter().find(|condition| condition.r#type == wanted).expect(wanted);
        assert!(condition.status, "{condition:?}");
    }
    let named: Vec<_> = answer.runtime_handlers.iter().map(|handler| handler.name.as_str()).collect();
    assert_eq!(named, ["", "berth"]);
    // The tests need a kernel that can do both.
    for features in answer.runtime_handlers.iter().map(|handler| handler.features.as_ref().expect("features")) {
        assert!(features.recursive_read_only_mounts && features.user_namespaces, "{features:?}");
    }
    assert!(answer.features.expect("features").supplemental_groups_policy);
    for (key, text) in answer.info.iter().filter(|(_, text)| text.starts_with('{')) {
        serde_json::from_str::<serde_json::Value>(text).unwrap_or_else(|error| panic!("info {key}: {error}"));
    }
}

#[tokio::test]
async fn the_cgroup_driver_is_told() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let answer = daemon.runtime().runtime_config(RuntimeConfigRequest {}).await.expect("config").into_inner();
    assert_eq!(answer.linux.expect("linux").cgroup_driver(), CgroupDriver::Cgroupfs);
    daemon.runtime().update_runtime_config(UpdateRuntimeConfigRequest::default()).await.expect("update");
}

#[tokio::test]
async fn a_pod_cidr_from_kubelet_is_where_new_pods_get_their_addresses() {
    use berth::wire::{NetworkConfig, RuntimeConfig};
    requires!(Root);
    let daemon = Daemon::start().await;
    let before = daemon.run_pod(&pod(&daemon, "before")).await;
    let address = daemon.pod_status(&before).await.network.expect("a network").ip;
    let update = async |cidr: &str| {
        let network_config = Some(NetworkConfig { pod_cidr: cidr.to_owned() });
        let runtime_config = Some(RuntimeConfig { network_config });
        daemon.runtime().update_runtime_config(UpdateRuntimeConfigRequest { runtime_config }).await
    };
    update("10.77.3.0/24").await.expect("update");
    let after = daemon.run_pod(&pod(&daemon, "after")).await;
    let new = daemon.pod_status(&after).await.network.expect("a network").ip;
    assert!(new.starts_with("10.77.3."), "{new}");
    assert_eq!(daemon.pod_status(&before).await.network.expect("a network").ip, address);
    let (code, message) = refusal(update("10.77.3.0/40").await);
    assert_eq!(code, Code::InvalidArgument, "{message}");
}

#[tokio::test]
async fn the_space_of_images_is_told_before_there_are_any() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let answer = daemon.image().image_fs_info(ImageFsInfoRequest {}).await.expect("info").into_inner();
    let usage = answer.image_filesystems.first().expect("a file system");
    assert!(usage.timestamp > 0 && usage.used_bytes.is_some() && usage.inodes_used.is_some(), "{usage:?}");
    let mountpoint = &usage.fs_id.as_ref().expect("an id").mountpoint;
    assert!(std::path::Path::new(mountpoint).is_dir(), "{mountpoint} is no directory");
}

/// kubelet evicts pods by these numbers and collects images by those.
#[tokio::test]
async fn the_space_of_images_and_of_writable_layers_is_told_apart() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let used = async || {
        let info = daemon.image().image_fs_info(ImageFsInfoRequest {}).await.expect("info").into_inner();
        let [images] = &info.image_filesystems[..] else { panic!("one file system: {info:?}") };
        let [containers] = &info.container_filesystems[..] else { panic!("one file system: {info:?}") };
        [images, containers].map(|usage| usage.used_bytes.as_ref().expect("used bytes").value)
    };
    let [before, _] = used().await;
    daemon.import_busybox().await;
    let [images, containers] = used().await;
    assert!(images > before + 100_000, "{before} {images}");
    let config = pod(&daemon, "p");
    let pod = daemon.run_pod(&config).await;
    let id = daemon.run(&pod, &container("c", &["sleep", "1000"]), &config).await;
    daemon.exec(&id, &["sh", "-c", "head -c 3000000 /dev/zero > /file"]).await;
    let counts = async || used().await[1] >= containers + 3_000_000;
    eventually("the file counts as the container's", counts).await;
    assert!(used().await[0] < images + 1_000_000, "the file counts as the image's, too");
}

/// What a kubelet of a later version sends: it must not be refused for what this engine does not know.
#[tokio::test]
async fn fields_of_newer_callers_are_passed_over() {
    #[derive(Clone, PartialEq, prost::Message)]
    struct NewerRequest {
        #[prost(string, tag = "1")]
        version: String,
        #[prost(string, tag = "1000")]
        unknown_text: String,
        #[prost(uint64, repeated, tag = "1001")]
        unknown_numbers: Vec<u64>,
    }
    requires!(Root);
    let daemon = Daemon::start().await;
    let mut client = tonic::client::Grpc::new(daemon.channel());
    client.ready().await.expect("a connection");
    let request =
        NewerRequest { version: "v1".into(), unknown_text: "of the future".into(), unknown_numbers: vec![1, 2] };
    let path = tonic::codegen::http::uri::PathAndQuery::from_static("/runtime.v1.RuntimeService/Version");
    let codec = tonic_prost::ProstCodec::<NewerRequest, berth::wire::VersionResponse>::default();
    let answer = client.unary(tonic::Request::new(request), path, codec).await.expect("an answer");
    assert_eq!(answer.into_inner().version, "0.1.0");
}

#[tokio::test]
async fn reflection_lists_all_services_and_health_is_good() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client = ServerReflectionClient::new(daemon.channel());
    let answers = client.server_reflection_info(tokio_stream::once(request)).await.expect("reflection");
    let answer = answers.into_inner().message().await.expect("an answer").expect("an answer");
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else { panic!("{answer:?}") };
    for wanted in ["runtime.v1.RuntimeService", "runtime.v1.ImageService", "berth.v1.Engine"] {
        assert!(list.service.iter().any(|service| service.name == wanted), "no {wanted} in {list:?}");
    }
    let health = HealthClient::new(daemon.channel()).check(HealthCheckRequest::default()).await.expect("health");
    assert_eq!(health.into_inner().status(), ServingStatus::Serving);
}

#[tokio::test]
async fn only_root_may_open_the_socket() {
    use std::os::unix::fs::PermissionsExt as _;
    requires!(Root);
    let daemon = Daemon::start().await;
    let mode = std::fs::metadata(daemon.path("berth.sock")).expect("the socket").permissions().mode();
    assert_eq!(mode & 0o077, 0, "mode {mode:o}");
}

/// Some clients send the socket's path as `:authority`, which is none; no Rust client can, so this speaks in frames.
#[tokio::test]
async fn a_client_that_sends_the_socket_as_authority_is_served() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    requires!(Root);
    let daemon = Daemon::start().await;
    let socket = daemon.path("berth.sock");
    let mut stream = tokio::net::UnixStream::connect(&socket).await.expect("connect");
    let headers: Vec<u8> = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/runtime.v1.RuntimeService/Version"),
        (":authority", &socket.display().to_string()),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ]
    .iter()
    .flat_map(|(name, value)| literal(name, value))
    .collect();
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &[]));
    bytes.extend(frame(HEADERS, END_HEADERS, 1, &headers));
    bytes.extend(frame(DATA, END_STREAM, 1, &[0, 0, 0, 0, 0]));
    stream.write_all(&bytes).await.expect("send");

    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.expect("the connection was closed");
        let mut payload = vec![0; usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2])];
        stream.read_exact(&mut payload).await.expect("a whole frame");
        match head[3] {
            // The static table's entry 8 is `:status: 200`.
            HEADERS => return assert_eq!(payload[0], 0x88, "{payload:?}"),
            RST_STREAM | GOAWAY => panic!("refused: {payload:?}"),
            _ => {}
        }
    }
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// A frame of HTTP/2, RFC 9113 §4.1.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header field that is not indexed, RFC 7541 §6.2.2.
fn literal(name: &str, value: &str) -> Vec<u8> {
    let length = |text: &str| u8::try_from(text.len()).ok().filter(|&length| length < 127).expect("a short text");
    let mut bytes = vec![0, length(name)];
    bytes.extend(name.bytes());
    bytes.push(length(value));
    bytes.extend(value.bytes());
    bytes
}

/// One request of HTTP/1, as Prometheus makes it.
fn scrape(address: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("connect");
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").expect("ask");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("read");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    answer
}

#[tokio::test]
async fn the_daemon_tells_prometheus_what_it_does() {
    requires!(Root);
    // The test's network is its own.
    let address = "127.0.0.1:9270";
    let daemon = Daemon::start_with(&format!("[metrics]\naddress = \"{address}\"\n")).await;
    daemon.import_busybox().await;
    let config = pod(&daemon, "p");
    let pod = daemon.run_pod(&config).await;
    let id = daemon.run(&pod, &container("c", &["sleep", "1000"]), &config).await;
    daemon.create(&pod, &container("idle", &["true"]), &config).await;
    let request = PullImageRequest {
        image: Some(ImageSpec { image: "127.0.0.1:1/none:1".to_owned(), ..Default::default() }),
        ..Default::default()
    };
    daemon.image().pull_image(request).await.expect_err("nobody is there");
    let text = scrape(address);
    for line in [
        "berth_build_info{version=\"0.1.0\"} 1",
        "berth_pods{state=\"ready\"} 1",
        "berth_pods{state=\"notready\"} 0",
        "berth_containers{state=\"running\"} 1",
        "berth_containers{state=\"created\"} 1",
        "berth_images 1",
        "berth_image_pulls_total{outcome=\"Failure\"} 1",
        "berth_image_pulled_bytes_total 0",
        "berth_cri_requests_total{rpc=\"RunPodSandbox\",code=\"Ok\"} 1",
        "berth_cri_requests_total{rpc=\"PullImage\",code=\"Unknown\"} 1",
        "berth_cri_request_duration_seconds_count{rpc=\"StartContainer\"} 1",
        "# EOF",
    ] {
        assert!(text.lines().any(|told| told == line), "no {line:?} in\n{text}");
    }
    daemon.stop(&id, 0).await;
    daemon.stop_pod(&pod).await;
    let text = scrape(address);
    for line in ["berth_pods{state=\"notready\"} 1", "berth_containers{state=\"running\"} 0"] {
        assert!(text.lines().any(|told| told == line), "no {line:?} in\n{text}");
    }
}
