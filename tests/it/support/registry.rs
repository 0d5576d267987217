//! Debian's docker-registry on the loopback.

use std::{
    fs,
    process::{Child, Command, Stdio},
};

use http::header;
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::{Archive, eventually};

/// Debian's docker-registry, with storage that goes with it. It must be started after the test's daemon, whose network
/// namespace it shares, so the port is always free.
#[derive(Debug)]
pub(crate) struct Registry {
    child: Child,
    address: &'static str,
    _storage: TempDir,
    client: reqwest::Client,
}

impl Registry {
    /// Host and port, the beginning of image names.
    pub(crate) const ADDRESS: &str = "127.0.0.1:5000";

    /// Another one beside it.
    #[allow(dead_code, reason = "the benchmark needs one")]
    pub(crate) const OTHER_ADDRESS: &str = "127.0.0.1:5001";

    /// Starts it and waits until it answers.
    pub(crate) async fn start() -> Self {
        Self::start_with(Self::ADDRESS, "").await
    }

    /// Starts one at another address, with more in its configuration.
    pub(crate) async fn start_with(address: &'static str, configuration: &str) -> Self {
        let more = configuration;
        let storage = tempfile::Builder::new().prefix("berth-test-registry").tempdir().expect("make a directory");
        let configuration = storage.path().join("config.yml");
        let text = format!(
            "version: 0.1\nlog:\n  accesslog:\n    disabled: true\n  level: error\nstorage:\n  filesystem:\n    \
             rootdirectory: {}\nhttp:\n  addr: {address}\n{more}",
            storage.path().join("data").display(),
        );
        fs::write(&configuration, text).expect("write the registry's configuration");
        let mut child = Command::new("docker-registry")
            .arg("serve")
            .arg(&configuration)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("start docker-registry");
        eventually("the registry answers", async || {
            // Or somebody else's registry would be taken for it.
            let ended = child.try_wait().expect("look at docker-registry");
            assert_eq!(ended, None, "docker-registry ended; is {address} in use?");
            TcpStream::connect(address).await.is_ok()
        })
        .await;
        // The client can do TLS and wants to know how, even if no TLS is spoken here.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().build().expect("make an HTTP client");
        Self { child, address, _storage: storage, client }
    }

    /// Puts an image there and returns its full name.
    pub(crate) async fn push(&self, archive: &Archive, repository: &str, tag: &str) -> String {
        let base = format!("http://{}/v2/{repository}", self.address);
        for (digest, blob) in archive.blobs.iter().filter(|(digest, _)| **digest != archive.manifest) {
            let session = self.send(self.client.post(format!("{base}/blobs/uploads/"))).await;
            let location = session.headers()[header::LOCATION].to_str().expect("a location");
            let separator = if location.contains('?') { '&' } else { '?' };
            let url = format!("{location}{separator}digest={digest}");
            self.send(self.client.put(url).header(header::CONTENT_LENGTH, blob.len()).body(blob.clone())).await;
        }
        let manifest = archive.blobs[&archive.manifest].clone();
        let media_type = archive.manifest()["mediaType"].as_str().expect("a media type").to_owned();
        let put = self.client.put(format!("{base}/manifests/{tag}")).header(header::CONTENT_TYPE, media_type);
        self.send(put.body(manifest)).await;
        format!("{}/{repository}:{tag}", self.address)
    }

    /// What it says of something: `team/app/manifests/latest`.
    #[allow(dead_code, reason = "the benchmark asks for nothing")]
    pub(crate) async fn get(&self, object: &str) -> reqwest::Response {
        const ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json";
        let url = format!("http://{}/v2/{object}", self.address);
        self.client.get(url).header(header::ACCEPT, ACCEPT).send().await.expect("talk to the registry")
    }

    /// Puts an index there and returns its full name. What it points to must be there.
    #[allow(dead_code, reason = "the benchmark has none")]
    pub(crate) async fn push_index(&self, index: &serde_json::Value, repository: &str, tag: &str) -> String {
        let media_type = index["mediaType"].as_str().expect("a media type").to_owned();
        let put = self.client.put(format!("http://{}/v2/{repository}/manifests/{tag}", self.address));
        self.send(put.header(header::CONTENT_TYPE, media_type).body(index.to_string())).await;
        format!("{}/{repository}:{tag}", self.address)
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> reqwest::Response {
        let response = request.send().await.expect("talk to the registry");
        assert!(response.status().is_success(), "the registry refused: {response:?}");
        response
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
