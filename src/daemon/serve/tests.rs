use std::{path::Path, time::Instant};

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::{Code, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_reflection::pb::{v1, v1alpha};

use super::*;
use crate::wire::{StatusRequest, runtime_service_client::RuntimeServiceClient};

async fn served(directory: &Path) -> (Server, Channel) {
    let path = directory.join("s.sock");
    let listener = Listener::bind(&path, None).expect("binds");
    let door = Door::new(crate::cri::Config::default());
    let server = Server::start(listener, &door, Arc::default()).await.expect("starts");
    let connector = tower::service_fn(move |_| {
        let path = path.clone();
        async { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    let channel = tonic::transport::Endpoint::from_static("http://localhost").connect_with_connector(connector).await;
    (server, channel.expect("connects"))
}

async fn health(channel: &Channel, service: &str) -> i32 {
    let request = HealthCheckRequest { service: service.to_owned() };
    HealthClient::new(channel.clone()).check(request).await.expect("answers").into_inner().status
}

#[tokio::test]
async fn health_follows_readiness_and_rpcs_are_unavailable_before_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let (server, channel) = served(directory.path()).await;
    for service in SERVICES {
        assert_eq!(health(&channel, service).await, ServingStatus::NotServing as i32);
    }
    let refused = RuntimeServiceClient::new(channel.clone()).status(StatusRequest::default()).await;
    assert_eq!(refused.expect_err("no engine yet").code(), Code::Unavailable);
    server.ready().await;
    for service in SERVICES {
        assert_eq!(health(&channel, service).await, ServingStatus::Serving as i32);
    }
}

/// Lists the services by one version of reflection.
macro_rules! reflected {
    ($version:ident, $channel:expr) => {{
        use $version::{
            ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
            server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
        };
        let message_request = Some(MessageRequest::ListServices(String::new()));
        let request = ServerReflectionRequest { message_request, ..Default::default() };
        let mut client = ServerReflectionClient::new($channel);
        let answers = client.server_reflection_info(tokio_stream::once(request)).await.expect("answers");
        let answer = answers.into_inner().message().await.expect("no failure").expect("an answer");
        let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
            panic!("no list: {answer:?}")
        };
        list.service.into_iter().map(|service| service.name).collect::<Vec<_>>()
    }};
}

#[tokio::test]
async fn both_versions_of_reflection_list_every_service() {
    let directory = tempfile::tempdir().expect("a directory");
    let (_server, channel) = served(directory.path()).await;
    for services in [reflected!(v1, channel.clone()), reflected!(v1alpha, channel)] {
        for service in SERVICES.iter().filter(|service| !service.is_empty()).chain(&["grpc.health.v1.Health"]) {
            assert!(services.iter().any(|listed| listed == service), "{service} is not in {services:?}");
        }
    }
}

#[tokio::test]
async fn stopping_waits_for_answers_but_not_for_callers_that_stay() {
    let directory = tempfile::tempdir().expect("a directory");
    let (server, channel) = served(directory.path()).await;
    let watching = HealthClient::new(channel).watch(HealthCheckRequest::default()).await.expect("begins");
    let began = Instant::now();
    assert_eq!(server.stop(Duration::from_secs(30)).await, Stop::Drained);
    assert!(began.elapsed() < Duration::from_secs(10));
    assert!(!directory.path().join("s.sock").exists());
    drop(watching);

    let (server, _channel) = served(directory.path()).await;
    let unanswered = server.requests.token();
    assert_eq!(server.stop(Duration::from_millis(50)).await, Stop::Cut);
    drop(unanswered);
}
