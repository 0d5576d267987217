//! The client's face.

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::sync::Semaphore;

use super::{
    auth::{Auth, Credential, CredentialFiles, Credentials, Tokens},
    candidates::Patience,
    descriptor::{Descriptor, Resolved},
    distrust::{Distrust, Givers},
    endpoint::Capability,
    error::Error,
    http::Http,
    mirror,
    repository::Repository,
    transfer::{BlobStream, Budget},
};
use crate::types::{Digest, Reference};

/// How a client is set up.
#[derive(Debug, Clone)]
pub struct Config {
    /// Directory with a directory for each registry host: `<host[:port]>/hosts.toml`, or `_default/hosts.toml`.
    pub certs_dir: PathBuf,
    /// Files in the form of docker's `config.json`, asked in this order when a pull brings no credentials.
    pub credentials: Vec<PathBuf>,
    /// How the client introduces itself.
    pub user_agent: String,
    /// Longest time to make a connection, unless the host's configuration says otherwise.
    pub connect_timeout: Duration,
    /// Longest time without any byte of an answer.
    pub stall_timeout: Duration,
    /// How often an operation is tried at all hosts without any gain before it fails.
    pub attempts: u32,
    /// Pause after the first of these attempts; it doubles with each.
    pub first_pause: Duration,
    /// Smallest blob that may be fetched over several connections at once.
    pub parallel_from: u64,
    /// Connections for such a blob; 1 turns it off.
    pub connections: usize,
    /// Speed of one connection, in bytes a second, from which on no more are made.
    pub fast: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            certs_dir: PathBuf::from("/etc/berth/certs.d"),
            credentials: Vec::new(),
            user_agent: concat!("berth/", env!("CARGO_PKG_VERSION")).to_owned(),
            connect_timeout: Duration::from_secs(15),
            stall_timeout: Duration::from_secs(30),
            attempts: 5,
            first_pause: Duration::from_millis(250),
            parallel_from: 16 << 20,
            connections: 4,
            fast: 32 << 20,
        }
    }
}

/// Length of the ranges of a blob that is fetched over several connections.
const RANGE: u64 = 4 << 20;
/// Ranges that all transfers together may hold in memory.
const RANGES: usize = 4;

/// What an operation does to a repository.
#[derive(Debug, Clone, Copy)]
pub(super) enum Access<'a> {
    /// Reads it.
    Pull,
    /// Writes to it, and reads blobs of another one of the same registry.
    Push { mount_from: Option<&'a str> },
    /// Only shows who it is.
    Login,
}

impl Access<'_> {
    /// What a token has to allow for that, Docker Registry v2 "Token Scope Documentation".
    fn scope(self, reference: &Reference) -> String {
        let path = reference.repository();
        match self {
            Self::Login => String::new(),
            Self::Pull => format!("repository:{path}:pull"),
            Self::Push { mount_from: None } => format!("repository:{path}:pull,push"),
            Self::Push { mount_from: Some(other) } => {
                format!("repository:{path}:pull,push repository:{other}:pull")
            }
        }
    }
}

/// Fetches manifests and blobs from registries and their mirrors, and pushes them.
#[derive(Debug)]
pub struct Client {
    http: Arc<Http>,
    tokens: Arc<Tokens>,
    credential_files: CredentialFiles,
    budget: Budget,
    patience: Patience,
    certs_dir: PathBuf,
    connect_timeout: Duration,
}

impl Client {
    /// Makes a client; connections are made when they are needed.
    pub fn new(config: Config) -> Self {
        Self {
            http: Arc::new(Http::new(config.user_agent, config.stall_timeout)),
            tokens: Arc::default(),
            credential_files: CredentialFiles::new(config.credentials),
            budget: Budget {
                smallest_blob: config.parallel_from,
                range: RANGE,
                connections: config.connections,
                fast: config.fast,
                ranges: Arc::new(Semaphore::new(RANGES)),
            },
            patience: Patience { rounds: config.attempts, first_pause: config.first_pause, ..Patience::default() },
            certs_dir: config.certs_dir,
            connect_timeout: config.connect_timeout,
        }
    }

    /// Fetches the manifest or index that a reference names: by its digest if it has one, else by its tag.
    pub async fn resolve(&self, reference: &Reference, auth: Option<&Auth>) -> Result<Resolved, Error> {
        self.manifest(reference, reference.digest(), auth).await
    }

    /// Fetches another manifest of the same repository, as an index points to it.
    pub async fn manifest_by_digest(
        &self,
        reference: &Reference,
        digest: Digest,
        auth: Option<&Auth>,
    ) -> Result<Resolved, Error> {
        self.manifest(reference, Some(digest), auth).await
    }

    /// Starts to fetch a blob. The stream gives exactly `descriptor.size` bytes in order or ends with an error; it
    /// resumes after broken connections, with the next mirror if there is one. No request is made before it is polled.
    /// Whether the bytes have the right digest is for the caller to check; the hosts of `distrust` are not asked.
    pub async fn blob(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        auth: Option<&Auth>,
        distrust: &Distrust,
    ) -> Result<BlobStream, Error> {
        let mut repository = self.repository(reference, Access::Pull, auth).await?;
        repository.endpoints.retain(|endpoint| distrust.allows(endpoint));
        BlobStream::new(Arc::new(repository), descriptor.clone(), self.budget.clone())
    }

    async fn manifest(
        &self,
        reference: &Reference,
        digest: Option<Digest>,
        auth: Option<&Auth>,
    ) -> Result<Resolved, Error> {
        let repository = self.repository(reference, Access::Pull, auth).await?;
        let (capability, name) = match digest {
            Some(digest) => (Capability::Pull, digest.to_string()),
            None => (Capability::Resolve, reference.tag().unwrap_or_default().to_owned()),
        };
        let mut candidates = repository.candidates(capability, "resolve")?;
        while let Some(endpoint) = candidates.next().await {
            match repository.manifest(&endpoint, &name, digest).await {
                Ok(manifest) => return Ok(manifest),
                Err(failure) => candidates.failed(failure),
            }
        }
        let object = match digest {
            Some(digest) => reference.pinned(digest).to_string(),
            None => reference.to_string(),
        };
        Err(candidates.into_error("resolve", object))
    }

    pub(super) async fn repository(
        &self,
        reference: &Reference,
        access: Access<'_>,
        auth: Option<&Auth>,
    ) -> Result<Repository, Error> {
        let endpoints = mirror::endpoints(&self.certs_dir, reference.domain(), self.connect_timeout).await?;
        let given = match auth {
            Some(auth) => {
                let invalid = |reason| Error::InvalidAuth { object: reference.to_string(), reason };
                Some((Credential::from_auth(auth).map_err(invalid)?, auth.server_address.clone()))
            }
            None => None,
        };
        let credentials = match given {
            Some((credential, server_address)) if credential != Credential::Anonymous => {
                Credentials::Given { credential, server_address }
            }
            _ => Credentials::Files(self.credential_files.clone()),
        };
        Ok(Repository {
            http: self.http.clone(),
            tokens: self.tokens.clone(),
            patience: self.patience,
            connect_timeout: self.connect_timeout,
            reference: reference.clone(),
            endpoints: endpoints.into_iter().map(Arc::new).collect(),
            credentials,
            scope: access.scope(reference),
            givers: Givers::default(),
        })
    }
}
