//! Debian's `docker-registry` on a free loopback port, with content pushed by plain HTTP requests.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use reqwest::StatusCode;
use tempfile::TempDir;

use crate::types::Digest;

const PROGRAM: &str = "docker-registry";
const PASSWORD_PROGRAM: &str = "htpasswd";

/// What a registry is started with.
#[derive(Default)]
pub(super) struct Setup<'a> {
    /// Users and their passwords; with none, everybody may do everything.
    pub(super) users: &'a [(&'a str, &'a str)],
    /// Certificate and key.
    pub(super) tls: Option<(&'a Path, &'a Path)>,
    /// Authority of clients' certificates.
    pub(super) client_authority: Option<&'a Path>,
}

/// A running registry; it is killed and its files are removed when it is dropped.
pub(super) struct DockerRegistry {
    process: Child,
    port: u16,
    scheme: &'static str,
    http: reqwest::Client,
    credentials: Option<(String, String)>,
    _directory: TempDir,
}

impl DockerRegistry {
    /// Starts a registry, or says that the program is not installed and returns `None`.
    pub(super) async fn start(setup: Setup<'_>) -> Option<Self> {
        let passwords = if setup.users.is_empty() { None } else { Some(PASSWORD_PROGRAM) };
        if let Some(missing) = [PROGRAM].into_iter().chain(passwords).find(|program| !is_installed(program)) {
            eprintln!("SKIPPED: {missing} is not installed");
            return None;
        }
        let directory = tempfile::tempdir().expect("makes a directory");
        let (process, port) = serve(&setup, directory.path()).await;
        let _ = rustls::crypto::ring::default_provider().install_default();
        // It is the client under test that has to care for certificates.
        let http = reqwest::Client::builder().no_proxy().tls_danger_accept_invalid_certs(true).build().expect("builds");
        Some(Self {
            process,
            port,
            scheme: if setup.tls.is_some() { "https" } else { "http" },
            http,
            credentials: setup.users.first().map(|(name, password)| (name.to_string(), password.to_string())),
            _directory: directory,
        })
    }

    /// Host and port.
    pub(super) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Pushes a blob and returns its digest.
    pub(super) async fn push_blob(&self, repository: &str, content: &[u8]) -> Digest {
        let digest = Digest::of(content);
        let start = self.request(reqwest::Method::POST, &self.url(&format!("{repository}/blobs/uploads/"))).send();
        let start = start.await.expect("answers");
        assert_eq!(start.status(), StatusCode::ACCEPTED);
        let location = start.headers()["location"].to_str().expect("is text");
        let mut location = start.url().join(location).expect("is an address");
        location.query_pairs_mut().append_pair("digest", &digest.to_string());
        let put = self.request(reqwest::Method::PUT, location.as_str()).body(content.to_vec()).send();
        assert_eq!(put.await.expect("answers").status(), StatusCode::CREATED);
        digest
    }

    /// Pushes a manifest under a tag and returns its digest.
    pub(super) async fn push_manifest(&self, repository: &str, tag: &str, media_type: &str, content: &str) -> Digest {
        let url = self.url(&format!("{repository}/manifests/{tag}"));
        let put = self.request(reqwest::Method::PUT, &url).header("Content-Type", media_type).body(content.to_owned());
        let answer = put.send().await.expect("answers");
        let status = answer.status();
        assert_eq!(status, StatusCode::CREATED, "{}", answer.text().await.unwrap_or_default());
        Digest::of(content.as_bytes())
    }

    /// Pushes an image with one layer, and returns its manifest.
    pub(super) async fn push_image(&self, repository: &str, tag: &str, layer: &[u8]) -> String {
        let config = br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]},"config":{}}"#;
        let config_digest = self.push_blob(repository, config).await;
        let layer_digest = self.push_blob(repository, layer).await;
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": {
                "mediaType": "application/vnd.docker.container.image.v1+json",
                "digest": config_digest.to_string(),
                "size": config.len(),
            },
            "layers": [{
                "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
                "digest": layer_digest.to_string(),
                "size": layer.len(),
            }],
        });
        let manifest = manifest.to_string();
        let media_type = "application/vnd.docker.distribution.manifest.v2+json";
        self.push_manifest(repository, tag, media_type, &manifest).await;
        manifest
    }

    fn request(&self, method: reqwest::Method, url: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, url);
        match &self.credentials {
            Some((name, password)) => request.basic_auth(name, Some(password)),
            None => request,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}://{}/v2/{path}", self.scheme, self.host())
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Whether a program is there, for tests that are skipped without it.
pub(super) fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

/// Starts the program and waits until it listens. Another test may take the port that was free a moment ago; the
/// program then ends, and is started with another one.
async fn serve(setup: &Setup<'_>, directory: &Path) -> (Child, u16) {
    let started = Instant::now();
    loop {
        let port = free_port();
        let config = directory.join("config.yml");
        std::fs::write(&config, configuration(setup, directory, port)).expect("writes");
        let mut command = Command::new(PROGRAM);
        command.arg("serve").arg(&config).env_clear().stdout(Stdio::null()).stderr(Stdio::null());
        let mut process = command.spawn().expect("starts");
        while process.try_wait().expect("is our child").is_none() {
            if tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                return (process, port);
            }
            assert!(started.elapsed() < Duration::from_secs(60), "{PROGRAM} does not listen");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("binds").port()
}

fn configuration(setup: &Setup<'_>, directory: &Path, port: u16) -> String {
    let mut text = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}/data}}}}\n\
         http:\n  addr: 127.0.0.1:{port}\n  secret: test\n",
        directory.display()
    );
    if let Some((certificate, key)) = setup.tls {
        text.push_str(&format!("  tls:\n    certificate: {}\n    key: {}\n", certificate.display(), key.display()));
        if let Some(authority) = setup.client_authority {
            text.push_str(&format!("    clientcas: [{}]\n", authority.display()));
        }
    }
    if !setup.users.is_empty() {
        let file = passwords(setup.users, directory);
        text.push_str(&format!("auth: {{htpasswd: {{realm: test, path: {}}}}}\n", file.display()));
    }
    text
}

/// Writes a file of bcrypt hashes.
fn passwords(users: &[(&str, &str)], directory: &Path) -> PathBuf {
    let file = directory.join("htpasswd");
    let mut lines = Vec::new();
    for (name, password) in users {
        let output =
            Command::new(PASSWORD_PROGRAM).args(["-nbB", "-C", "4", name, password]).output().expect("runs htpasswd");
        lines.extend(output.stdout);
    }
    std::fs::write(&file, lines).expect("writes");
    file
}
