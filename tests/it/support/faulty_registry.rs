//! A registry that misbehaves on purpose.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use futures_util::StreamExt as _;
use tokio::net::TcpListener;

use super::Archive;

/// What opens a registry with [`Fault::Locked`]: `user:secret`.
const PASSWORD: &str = "Basic dXNlcjpzZWNyZXQ=";

/// What a [`FaultyRegistry`] does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// Blobs are other bytes of the same length.
    OtherBytes,
    /// Blobs end early.
    Truncated,
    /// The manifest asked for by digest is another one.
    OtherManifest,
    /// Manifests are a web page.
    WebPage,
    /// Nothing is ever answered.
    Silent,
    /// Everything is an internal error.
    Broken,
    /// The first two requests of each kind fail, later ones do not.
    Flaky,
    /// Blobs break off in the middle; a request for the rest is served.
    Interrupted,
    /// Nothing is served without the password `secret` of `user`.
    Locked,
}

/// A registry of one image, in this process, with one fault.
#[derive(Debug)]
pub(crate) struct FaultyRegistry {
    address: SocketAddr,
    state: Arc<Served>,
    server: tokio::task::JoinHandle<()>,
}

#[derive(Debug)]
struct Served {
    archive: Archive,
    fault: Fault,
    requests: AtomicU32,
}

impl FaultyRegistry {
    /// Starts it on a free port of this thread's loopback.
    pub(crate) async fn start(archive: Archive, fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(Served { archive, fault, requests: AtomicU32::new(0) });
        let router = Router::new()
            .route("/v2/", get(|| async { StatusCode::OK }))
            .route("/v2/image/manifests/{reference}", get(manifest))
            .route("/v2/image/blobs/{digest}", get(blob))
            .with_state(Arc::clone(&state));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.expect("serve") });
        Self { address, state, server }
    }

    /// The image's name there.
    pub(crate) fn image(&self) -> String {
        format!("{}/image:latest", self.address)
    }

    /// How many manifests and blobs were asked for.
    pub(crate) fn requests(&self) -> u32 {
        self.state.requests.load(Ordering::Relaxed)
    }
}

impl Drop for FaultyRegistry {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Served {
    /// What the fault makes of every request, whatever is asked for.
    async fn spoil(&self, headers: &HeaderMap) -> Option<Response> {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        match self.fault {
            Fault::Silent => {
                tokio::time::sleep(Duration::from_secs(3600)).await;
                None
            }
            Fault::Broken => Some(StatusCode::INTERNAL_SERVER_ERROR.into_response()),
            Fault::Flaky if number < 2 => Some(StatusCode::SERVICE_UNAVAILABLE.into_response()),
            Fault::Locked if headers.get(header::AUTHORIZATION).is_none_or(|given| given != PASSWORD) => {
                let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"test\"")];
                Some((StatusCode::UNAUTHORIZED, challenge).into_response())
            }
            _ => None,
        }
    }
}

async fn manifest(State(served): State<Arc<Served>>, Path(reference): Path<String>, headers: HeaderMap) -> Response {
    if let Some(spoilt) = served.spoil(&headers).await {
        return spoilt;
    }
    let archive = &served.archive;
    if served.fault == Fault::WebPage {
        return ([(header::CONTENT_TYPE, "text/html")], "<html>Please log in to this hotel's network</html>")
            .into_response();
    }
    if reference != "latest" && reference != archive.manifest {
        return StatusCode::NOT_FOUND.into_response();
    }
    let mut bytes = archive.blobs[&archive.manifest].clone();
    if served.fault == Fault::OtherManifest {
        bytes.push(b' ');
    }
    let media_type = archive.manifest()["mediaType"].as_str().expect("a media type").to_owned();
    let headers = [
        (header::CONTENT_TYPE, media_type),
        ("docker-content-digest".parse().expect("a name"), archive.manifest.clone()),
    ];
    (headers, bytes).into_response()
}

async fn blob(State(served): State<Arc<Served>>, Path(digest): Path<String>, headers: HeaderMap) -> Response {
    if let Some(spoilt) = served.spoil(&headers).await {
        return spoilt;
    }
    let Some(blob) = served.archive.blobs.get(&digest) else { return StatusCode::NOT_FOUND.into_response() };
    match served.fault {
        Fault::OtherBytes => vec![b'x'; blob.len()].into_response(),
        Fault::Truncated => blob[..blob.len() / 2].to_vec().into_response(),
        Fault::Interrupted => interrupted(blob, &headers),
        _ => blob.clone().into_response(),
    }
}

/// The first half with the whole's length, or the rest that a range asks for.
fn interrupted(blob: &[u8], headers: &HeaderMap) -> Response {
    let range = headers.get(header::RANGE).and_then(|range| range.to_str().ok());
    let start = range.and_then(|range| range.strip_prefix("bytes=")?.split('-').next()?.parse::<usize>().ok());
    if let Some(start) = start.filter(|&start| start > 0 && start < blob.len()) {
        let content_range = format!("bytes {start}-{}/{}", blob.len() - 1, blob.len());
        return (StatusCode::PARTIAL_CONTENT, [(header::CONTENT_RANGE, content_range)], blob[start..].to_vec())
            .into_response();
    }
    let half = blob[..blob.len() / 2].to_vec();
    // An error at once would take back what has not been sent yet.
    let fault = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        Err(std::io::Error::other("the fault"))
    };
    let pieces = futures_util::stream::once(std::future::ready(Ok(half))).chain(futures_util::stream::once(fault));
    let mut response = Response::new(Body::from_stream(pieces));
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(blob.len()));
    response
}
