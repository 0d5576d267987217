use bytes::Bytes;
use http::{Request, header::CONTENT_TYPE};
use http_body_util::Full;
use prost::Message as _;
use tonic::{Code, body::Body};
use tower::ServiceExt as _;

use super::*;
use crate::wire;

/// RPCs that need no argument, so that only the missing engine can be in their way.
const WITHOUT_ARGUMENT: &[&str] =
    &["Version", "Status", "RuntimeConfig", "ListPodSandbox", "StreamContainers", "ListImages", "ImageFsInfo"];

/// Calls an RPC with an empty message.
async fn call(door: &Door, path: &str) -> Status {
    let request = Request::post(path)
        .header(CONTENT_TYPE, "application/grpc")
        .body(Body::new(Full::new(Bytes::from_static(&[0; 5]))));
    let response = door.routes().oneshot(request.expect("a request")).await.expect("infallible");
    Status::from_header_map(response.headers()).unwrap_or_else(|| Status::ok(""))
}

fn paths() -> Vec<(String, String)> {
    let descriptors = prost_types::FileDescriptorSet::decode(wire::DESCRIPTORS).expect("decodes");
    let services = descriptors.file.iter().flat_map(|file| &file.service);
    let path = |service: &str, rpc: &str| (rpc.to_owned(), format!("/runtime.v1.{service}/{rpc}"));
    services.flat_map(|service| service.method.iter().map(|rpc| path(service.name(), rpc.name()))).collect()
}

#[tokio::test]
async fn every_rpc_of_the_wire_is_answered_and_none_by_a_stub() {
    let door = Door::new(Config::default());
    // So that none waits for the engine.
    door.close();
    let paths = paths();
    assert_eq!(paths.len(), 41);
    for (rpc, path) in paths {
        let status = call(&door, &path).await;
        if WITHOUT_ARGUMENT.contains(&rpc.as_str()) {
            assert_eq!(status.code(), Code::Unavailable, "{rpc}: {}", status.message());
        } else {
            assert!(matches!(status.code(), Code::InvalidArgument | Code::Unavailable), "{rpc}: {status:?}");
        }
    }
    assert_eq!(call(&door, "/runtime.v1.RuntimeService/NoSuch").await.code(), Code::Unimplemented);
}

#[tokio::test]
async fn what_kubelet_connects_with_waits_for_the_engine_but_not_beyond_the_daemons_end() {
    let door = Door::new(Config::default());
    for rpc in ["RuntimeService/Version", "ImageService/ImageFsInfo"] {
        let path = format!("/runtime.v1.{rpc}");
        let mut waiting = std::pin::pin!(call(&door, &path));
        assert!(futures_util::poll!(&mut waiting).is_pending(), "{rpc} does not wait");
    }
    door.close();
    assert_eq!(call(&door, "/runtime.v1.RuntimeService/Version").await.code(), Code::Unavailable);
}

#[tokio::test]
async fn an_empty_id_is_named_in_the_answer() {
    let status = call(&Door::new(Config::default()), "/runtime.v1.RuntimeService/StopContainer").await;
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "invalid request: container_id is empty"));
}

#[test]
fn details_are_one_json_object_and_only_told_when_asked_for() {
    let details = || Some(serde_json::json!({ "pid": 7 }));
    assert_eq!(verbose(true, details)["info"], r#"{"pid":7}"#);
    assert!(verbose(false, details).is_empty());
    assert!(verbose(true, || None).is_empty());
}
