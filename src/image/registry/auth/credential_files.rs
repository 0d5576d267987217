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
    answers: Arc<Mutex<HelperAnswers>>,
}

/// What helpers have answered, and when, by helper and registry.
type HelperAnswers = BTreeMap<(String, String), (Instant, Credential)>;

/// What a file says.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct File {
    auths: BTreeMap<String, Entry>,
    #[serde(rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
    #[serde(rename = "credsStore")]
    store: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Entry {
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

    /// The credentials that one file has for a registry, or the helper that it names.
    pub(super) async fn find_in(
        &self,
        file: &File,
        path: &Path,
        registry: &str,
        repository: &str,
    ) -> Option<Credential> {
        if let Some(helper) = own_helper(file, registry) {
            return self.ask(helper, registry).await;
        }
        if let Some(entry) = entry(file, registry, repository) {
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
        let answer = run_helper(&program(helper)?, "get", server_key(registry)).await?;
        let credential = credential_of(&answer)?;
        answers.insert(key, (Instant::now(), credential.clone()));
        Some(credential)
    }
}

impl Entry {
    pub(super) fn credential(&self) -> Result<Credential, &'static str> {
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

/// The helper that a file names for one registry.
fn own_helper<'a>(file: &'a File, registry: &str) -> Option<&'a str> {
    let helper = file.helpers.iter().find(|(host, _)| same_registry(host_of(host), registry));
    helper.map(|(_, helper)| helper.as_str())
}

/// The helper that keeps a registry's credentials, if they are not in the file itself.
pub(super) fn helper_for<'a>(file: &'a File, registry: &str) -> Option<&'a str> {
    own_helper(file, registry).or(Some(file.store.as_str()).filter(|store| !store.is_empty()))
}

/// The name that a registry's credentials are stored under.
pub(super) fn server_key(registry: &str) -> &str {
    let (hub, hub_key) = DOCKER_HUB;
    if registry == hub { hub_key } else { registry }
}

/// The most special entry for a repository: `host/path/name`, `host/path`, `host`, where the host may be an address.
pub(super) fn entry<'a>(file: &'a File, registry: &str, repository: &str) -> Option<&'a Entry> {
    let mut path = Some(repository);
    while let Some(namespace) = path {
        if let Some(entry) = file.auths.get(&format!("{registry}/{namespace}")) {
            return Some(entry);
        }
        path = namespace.rsplit_once('/').map(|(parent, _)| parent);
    }
    file.auths.iter().find(|(key, _)| names_registry(key, registry)).map(|(_, entry)| entry)
}

/// Whether a key stands for a registry as a whole. Only an address may have a path behind its host; otherwise it is a
/// namespace.
pub(super) fn names_registry(key: &str, registry: &str) -> bool {
    (key.contains("://") || !key.contains('/')) && same_registry(host_of(key), registry)
}

pub(super) async fn read(path: &Path) -> Option<File> {
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

/// The program of a helper: `docker-credential-<helper>`.
pub(super) fn program(helper: &str) -> Option<PathBuf> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if helper.is_empty() || !helper.bytes().all(is_name) {
        tracing::warn!(helper, "credential helper has a malformed name");
        return None;
    }
    Some(PathBuf::from(format!("docker-credential-{helper}")))
}

/// Runs a helper, docker-credential-helpers' protocol; gives what it prints if it succeeds.
pub(super) async fn run_helper(program: &Path, verb: &str, input: &str) -> Option<Vec<u8>> {
    let running = async {
        let mut child = tokio::process::Command::new(program)
            .arg(verb)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // A helper that knows one registry only need not read which one it is.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        child.wait_with_output().await
    };
    let output = match tokio::time::timeout(HELPER_TIMEOUT, running).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => {
            tracing::warn!(program = %program.display(), %error, "credential helper cannot be run");
            return None;
        }
        Err(_) => {
            tracing::warn!(program = %program.display(), "credential helper takes too long");
            return None;
        }
    };
    // Failing is how helpers say that they have no credentials for the registry.
    if !output.status.success() {
        tracing::debug!(program = %program.display(), verb, "credential helper has failed");
        return None;
    }
    Some(output.stdout)
}

/// The credentials in a helper's answer to `get`.
pub(super) fn credential_of(answer: &[u8]) -> Option<Credential> {
    let answer: HelperAnswer = serde_json::from_slice(answer).ok()?;
    Some(match answer.username.as_str() {
        "" if answer.secret.is_empty() => return None,
        TOKEN_USER | "" => Credential::IdentityToken(answer.secret),
        _ => Credential::Password { username: answer.username, password: answer.secret },
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn shown(credential: &Credential) -> String {
        match credential {
            Credential::Anonymous => "nobody".to_owned(),
            Credential::Password { username, password } => format!("{username}:{password}"),
            Credential::IdentityToken(token) => format!("identity {token}"),
            Credential::RegistryToken(token) => format!("registry {token}"),
        }
    }

    async fn found(text: &str, registry: &str, repository: &str) -> String {
        let directory = tempfile::tempdir().expect("makes a directory");
        let path = directory.path().join("config.json");
        std::fs::write(&path, text).expect("writes");
        let files = CredentialFiles::new(vec![directory.path().join("missing.json"), path.clone()]);
        let Some(file) = read(&path).await else { return "unreadable".to_owned() };
        let credential = files.find_in(&file, &path, registry, repository).await.unwrap_or_default();
        shown(&credential)
    }

    #[tokio::test]
    async fn registries_are_found_under_all_names_that_programs_store_them_by() {
        // "u:p" in base64.
        for key in ["a.example", "https://a.example", "https://a.example/v1/", "A.example:443"] {
            let text = format!(r#"{{"auths":{{"{key}":{{"auth":"dTpw"}}}},"future":1}}"#);
            assert_eq!(found(&text, "a.example", "b").await, "u:p", "{key}");
            assert_eq!(found(&text, "b.example", "b").await, "nobody", "{key}");
        }
        let hub = r#"{"auths":{"https://index.docker.io/v1/":{"username":"u","password":"p"}}}"#;
        assert_eq!(found(hub, "docker.io", "library/b").await, "u:p");
    }

    #[tokio::test]
    async fn the_most_special_namespace_wins() {
        let text = r#"{"auths":{
            "a.example":{"auth":"dTpw"},
            "a.example/team":{"identitytoken":"t"},
            "a.example/team/app":{"registrytoken":"r"}}}"#;
        assert_eq!(found(text, "a.example", "team/app").await, "registry r");
        assert_eq!(found(text, "a.example", "team/other").await, "identity t");
        assert_eq!(found(text, "a.example", "teams").await, "u:p");
        assert_eq!(found(r#"{"auths":{"a.example/team":{"auth":"dTpw"}}}"#, "a.example", "b").await, "nobody");
    }

    #[tokio::test]
    async fn malformed_files_and_entries_have_no_credentials() {
        assert_eq!(found("{", "a.example", "b").await, "unreadable");
        assert_eq!(found(r#"{"auths":{"a.example":{"auth":"?"}}}"#, "a.example", "b").await, "nobody");
        assert_eq!(found(r#"{"credsStore":"../../bin/sh"}"#, "a.example", "b").await, "nobody");
        assert_eq!(found(r#"{"credsStore":"not-installed-here"}"#, "a.example", "b").await, "nobody");
    }

    #[tokio::test]
    async fn helpers_are_asked_by_their_protocol() {
        let directory = tempfile::tempdir().expect("makes a directory");
        for (script, expected) in [
            (r#"[ "$1 $(cat)" = "get a.example" ] && echo '{"Username":"u","Secret":"p"}'"#, Some("u:p")),
            (r#"echo '{"Username":"<token>","Secret":"t"}'"#, Some("identity t")),
            ("echo 'credentials not found'; exit 1", None),
            ("echo nonsense", None),
            ("echo '{}'", None),
        ] {
            let program = directory.path().join("docker-credential-test");
            std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("writes");
            std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("is ours");
            let credential = run_helper(&program, "get", "a.example").await.as_deref().and_then(credential_of);
            assert_eq!(credential.as_ref().map(shown).as_deref(), expected, "{script}");
        }
    }
}
