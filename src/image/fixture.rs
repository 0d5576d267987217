//! What the room's tests are made of: layers, images, a registry and stores in temporary directories.

use std::{
    collections::HashMap,
    io::Write as _,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::{Path as UrlPath, State},
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::sync::Semaphore;

use super::{
    Config, Error, Store,
    tar::{Header, Kind, Writer},
};
use crate::types::Digest;

/// An archive under construction.
pub(super) struct Layer(Writer<Vec<u8>>);

impl Layer {
    pub(super) fn new() -> Self {
        Self(Writer::new(Vec::new()))
    }

    pub(super) fn header(mut self, header: &Header, data: &[u8]) -> Self {
        self.0.append(header, data).expect("writes to memory");
        self
    }

    pub(super) fn file(self, path: &str, data: &[u8]) -> Self {
        self.header(&Header { size: data.len() as u64, ..Header::new(path, Kind::File) }, data)
    }

    pub(super) fn directory(self, path: &str) -> Self {
        self.header(&Header::new(path, Kind::Directory), b"")
    }

    pub(super) fn link(self, kind: Kind, path: &str, target: &str) -> Self {
        self.header(&Header { link: target.into(), ..Header::new(path, kind) }, b"")
    }

    pub(super) fn symlink(self, path: &str, target: &str) -> Self {
        self.link(Kind::SymbolicLink, path, target)
    }

    pub(super) fn bytes(self) -> Vec<u8> {
        self.0.finish().expect("ends")
    }
}

/// Compresses as most layers are.
pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("writes to memory");
    encoder.finish().expect("ends")
}

/// An image with all its documents.
#[derive(Debug, Clone)]
pub(super) struct TestImage {
    /// Content by digest: configuration and layers.
    pub(super) blobs: Vec<Vec<u8>>,
    /// Its manifest.
    pub(super) manifest: Vec<u8>,
    /// Digest of its configuration.
    pub(super) id: Digest,
    /// Diff ids, bottom first.
    pub(super) diff_ids: Vec<Digest>,
}

impl TestImage {
    /// An image of these uncompressed layers, which are compressed with gzip. `label` makes it another one.
    pub(super) fn new(label: &str, layers: &[Vec<u8>]) -> Self {
        Self::with_streams(label, layers, |layer| ("application/vnd.oci.image.layer.v1.tar+gzip", gzip(layer)))
    }

    /// An image whose layers go into streams in some way.
    pub(super) fn with_streams(
        label: &str,
        layers: &[Vec<u8>],
        compress: impl Fn(&[u8]) -> (&'static str, Vec<u8>),
    ) -> Self {
        let diff_ids: Vec<Digest> = layers.iter().map(|layer| Digest::of(layer)).collect();
        let config = serde_json::json!({
            "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
            "os": "linux",
            "created": "2026-01-02T03:04:05Z",
            "config": {"Cmd": ["/bin/true"], "Labels": {"label": label}, "User": "1002:22"},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        })
        .to_string()
        .into_bytes();
        let streams: Vec<_> = layers.iter().map(|layer| compress(layer)).collect();
        let descriptor = |media_type: &str, content: &[u8]| serde_json::json!({"mediaType": media_type, "digest": Digest::of(content), "size": content.len()});
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
            "layers": streams.iter().map(|(kind, stream)| descriptor(kind, stream)).collect::<Vec<_>>(),
        });
        let id = Digest::of(&config);
        let blobs = std::iter::once(config).chain(streams.into_iter().map(|(_, stream)| stream)).collect();
        Self { blobs, manifest: manifest.to_string().into_bytes(), id, diff_ids }
    }

    /// Digest of the manifest.
    pub(super) fn digest(&self) -> Digest {
        Digest::of(&self.manifest)
    }
}

/// Media type of a manifest.
pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of an index.
pub(super) const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A registry in memory on a port of its own.
#[derive(Debug)]
pub(super) struct TestRegistry {
    address: SocketAddr,
    content: Arc<Content>,
    server: tokio::task::JoinHandle<()>,
}

/// What a registry has, and what was asked of it.
#[derive(Debug)]
struct Content {
    /// By tag or digest: media type and bytes.
    manifests: Mutex<HashMap<String, (String, Vec<u8>)>>,
    blobs: Mutex<HashMap<Digest, Vec<u8>>>,
    /// Number of blobs that were asked for.
    fetched: AtomicU32,
    /// Blobs that may be answered; closed ones wait.
    gate: Semaphore,
}

impl TestRegistry {
    pub(super) async fn start() -> Self {
        let content = Arc::new(Content {
            manifests: Mutex::default(),
            blobs: Mutex::default(),
            fetched: AtomicU32::new(0),
            gate: Semaphore::new(1 << 20),
        });
        let routes = Router::new()
            .route("/v2/", get(|| async { "{}" }))
            .route("/v2/{repository}/manifests/{name}", get(manifest))
            .route("/v2/{repository}/blobs/{digest}", get(blob))
            .with_state(Arc::clone(&content));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = tokio::spawn(async move { axum::serve(listener, routes).await.expect("serves") });
        Self { address, content, server }
    }

    /// The name of an image in it.
    pub(super) fn name(&self, rest: &str) -> String {
        format!("{}/{rest}", self.address)
    }

    /// Adds an image under a tag.
    pub(super) fn push(&self, tag: &str, image: &TestImage) {
        for blob in &image.blobs {
            self.push_blob(Digest::of(blob), blob);
        }
        self.push_manifest(tag, MANIFEST, &image.manifest);
    }

    /// Adds a manifest or index, by tag and by digest.
    pub(super) fn push_manifest(&self, tag: &str, media_type: &str, bytes: &[u8]) {
        let mut manifests = self.content.manifests.lock().expect("a lock");
        for name in [tag.to_owned(), Digest::of(bytes).to_string()] {
            manifests.insert(name, (media_type.to_owned(), bytes.to_vec()));
        }
    }

    /// Adds a blob, under whatever digest.
    pub(super) fn push_blob(&self, digest: Digest, content: &[u8]) {
        self.content.blobs.lock().expect("a lock").insert(digest, content.to_vec());
    }

    /// How many blobs were asked for.
    pub(super) fn fetched(&self) -> u32 {
        self.content.fetched.load(Ordering::SeqCst)
    }

    /// Lets only `count` more blobs be answered.
    pub(super) fn answer_only(&self, count: usize) {
        self.content.gate.forget_permits(1 << 20);
        self.content.gate.add_permits(count);
    }

    /// Lets all blobs be answered again.
    pub(super) fn answer_all(&self) {
        self.content.gate.add_permits(1 << 19);
    }
}

impl Drop for TestRegistry {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn manifest(State(content): State<Arc<Content>>, UrlPath((_, name)): UrlPath<(String, String)>) -> Response {
    let found = content.manifests.lock().expect("a lock").get(&name).cloned();
    let Some((media_type, bytes)) = found else { return StatusCode::NOT_FOUND.into_response() };
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, media_type.parse().expect("a header"));
    (headers, bytes).into_response()
}

async fn blob(State(content): State<Arc<Content>>, UrlPath((_, digest)): UrlPath<(String, String)>) -> Response {
    content.fetched.fetch_add(1, Ordering::SeqCst);
    content.gate.acquire().await.expect("open").forget();
    let found = digest.parse().ok().and_then(|digest| content.blobs.lock().expect("a lock").get(&digest).cloned());
    found.map_or_else(|| StatusCode::NOT_FOUND.into_response(), IntoResponse::into_response)
}

/// Opens a store in a directory.
pub(super) fn open(directory: &Path) -> Arc<Store> {
    open_with(directory, |_| {})
}

/// Opens a store in a directory, set up differently.
pub(super) fn open_with(directory: &Path, change: impl FnOnce(&mut Config)) -> Arc<Store> {
    let mut config = config(directory);
    change(&mut config);
    // A program that another test starts holds the lock of a store that was just closed until it has replaced itself.
    for _ in 0..1000 {
        match Store::open(config.clone()) {
            Err(Error::Locked(_)) => std::thread::sleep(Duration::from_millis(10)),
            opened => return opened.expect("opens"),
        }
    }
    panic!("the store is still open");
}

/// Tries to open a store in a directory.
pub(super) fn try_open(directory: &Path) -> Result<Arc<Store>, Error> {
    Store::open(config(directory))
}

fn config(directory: &Path) -> Config {
    Config {
        root: directory.join("image"),
        containers: directory.join("containers"),
        certs_dir: directory.join("certs.d"),
        ..Config::default()
    }
}

/// Names in a directory, in order; none if it is not there.
pub(super) fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten();
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("text")).collect();
    names.sort();
    names
}

/// Waits until something is so.
pub(super) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("in vain: {what}");
}

/// Waits until the store in a directory holds nothing at all.
pub(super) async fn until_empty(directory: &Path) {
    for part in ["layers", "blobs/sha256", "images", "ingest", "trash"] {
        let path = directory.join("image").join(part);
        until(&format!("{part} is empty"), || names(&path).is_empty()).await;
    }
}
