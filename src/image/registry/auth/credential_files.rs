//! The credentials of this host: docker's `config.json`, which is also podman's `auth.json`, and the programs it names.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use serde::Deserialize;
use tokio::{io::AsyncWriteExt as _, sync::Mutex};

use super::{Credential, host_of};
use crate::image::registry::{endpoint::Endpoint, mirror::same_registry};

/// The name that docker login stores Docker Hub's credentials under.
const DOCKER_HUB: (&str, &str) = ("docker.io", "https://index.docker.io/v1/");
/// Longest time that a credential helper may take.
const HELPER_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a helper's answer is used for the next requests of the same pull.
const HELPER_MEMORY: Duration = Duration::from_secs(30);
/// User name by which a helper says that the secret is an identity token.
const TOKEN_USER: &str = "<token>";

/// Files with credentials, asked in order.
#[derive(Debug, Clone)]
pub(in crate::image::registry) struct CredentialFiles {
    paths: Arc<[PathBuf]>,
    /// What helpers have answered, by helper and registry.
    answers: Arc<Mutex<BTreeMap<(String, String), (Instant, Credential)>>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct File {
    auths: BTreeMap<String, Entry>,
    #[serde(rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
    #[serde(rename = "credsStore")]
    store: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
    #[serde(rename = "identitytoken")]
    identity_token: String,
    #[serde(rename = "registrytoken")]
    registry_token: String,
}

/// What a credential helper prints.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperAnswer {
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

impl CredentialFiles {
    pub(in crate::image::registry) fn new(paths: Vec<PathBuf>) -> Self {
        Self { paths: paths.into(), answers: Arc::default() }
    }

    /// The credentials for an endpoint: a mirror has its own, by its host.
    pub(super) async fn find(&self, endpoint: &Endpoint, domain: &str, repository: &str) -> Credential {
        let registry = if endpoint.upstream { domain } else { endpoint.host() };
        for path in self.paths.iter() {
            if let Some(file) = read(path).await
                && let Some(credential) = self.find_in(&file, path, registry, repository).await
            {
                return credential;
            }
        }
        Credential::Anonymous
    }

    async fn find_in(&self, file: &File, path: &Path, registry: &str, repository: &str) -> Option<Credential> {
        let helper = file.helpers.iter().find(|(host, _)| same_registry(host_of(host), registry));
        if let Some((_, helper)) = helper {
            return self.ask(helper, registry).await;
        }
        if let Some(entry) = entry(&file.auths, registry, repository) {
            match entry.credential() {
                Ok(Credential::Anonymous) => {}
                Ok(credential) => return Some(credential),
                Err(reason) => tracing::warn!(path = %path.display(), registry, reason, "credentials are unusable"),
            }
        }
        if file.store.is_empty() { None } else { self.ask(&file.store, registry).await }
    }

    /// Asks a helper program, unless it was asked a moment ago.
    async fn ask(&self, helper: &str, registry: &str) -> Option<Credential> {
        let mut answers = self.answers.lock().await;
        answers.retain(|_, (at, _)| at.elapsed() < HELPER_MEMORY);
        let key = (helper.to_owned(), registry.to_owned());
        if let Some((_, credential)) = answers.get(&key) {
            return Some(credential.clone());
        }
        let credential = run_helper(helper, registry).await?;
        answers.insert(key, (Instant::now(), credential.clone()));
        Some(credential)
    }
}

impl Entry {
    fn credential(&self) -> Result<Credential, &'static str> {
        Credential::from_auth(&super::Auth {
            username: self.username.clone(),
            password: self.password.clone(),
            auth: self.auth.clone(),
            server_address: String::new(),
            identity_token: self.identity_token.clone(),
            registry_token: self.registry_token.clone(),
        })
    }
}

/// The most special entry for a repository: `host/path/name`, `host/path`, `host`, where the host may be an address.
fn entry<'a>(auths: &'a BTreeMap<String, Entry>, registry: &str, repository: &str) -> Option<&'a Entry> {
    let mut path = Some(repository);
    while let Some(namespace) = path {
        if let Some(entry) = auths.get(&format!("{registry}/{namespace}")) {
            return Some(entry);
        }
        path = namespace.rsplit_once('/').map(|(parent, _)| parent);
    }
    // Only an address may have a path behind a host here; otherwise it is a namespace, which has been looked for.
    let is_host = |key: &str| key.contains("://") || !key.contains('/');
    let mut hosts = auths.iter().filter(|(key, _)| is_host(key));
    hosts.find(|(key, _)| same_registry(host_of(key), registry)).map(|(_, entry)| entry)
}

async fn read(path: &Path) -> Option<File> {
    let text = match tokio::fs::read(path).await {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "credentials cannot be read");
            return None;
        }
    };
    // The parser's message could quote a secret.
    let file = serde_json::from_slice(&text);
    file.map_err(|_| tracing::warn!(path = %path.display(), "credentials are not JSON of docker's form")).ok()
}

/// Runs `docker-credential-<helper> get`, docker-credential-helpers' protocol.
async fn run_helper(helper: &str, registry: &str) -> Option<Credential> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if helper.is_empty() || !helper.bytes().all(is_name) {
        tracing::warn!(helper, "credential helper has a malformed name");
        return None;
    }
    let (hub, hub_key) = DOCKER_HUB;
    let server = if registry == hub { hub_key } else { registry };
    let running = async {
        let mut child = tokio::process::Command::new(format!("docker-credential-{helper}"))
            .arg("get")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(server.as_bytes()).await?;
        }
        child.wait_with_output().await
    };
    let output = match tokio::time::timeout(HELPER_TIMEOUT, running).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => {
            tracing::warn!(helper, %error, "credential helper cannot be run");
            return None;
        }
        Err(_) => {
            tracing::warn!(helper, "credential helper takes too long");
            return None;
        }
    };
    // Failing is how helpers say that they have no credentials for the registry.
    if !output.status.success() {
        tracing::debug!(helper, registry, "credential helper has no credentials");
        return None;
    }
    let answer: HelperAnswer = serde_json::from_slice(&output.stdout).ok()?;
    Some(match answer.username.as_str() {
        "" if answer.secret.is_empty() => return None,
        TOKEN_USER | "" => Credential::IdentityToken(answer.secret),
        _ => Credential::Password { username: answer.username, password: answer.secret },
    })
}
