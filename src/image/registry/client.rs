//! The client's face.

use std::{path::PathBuf, time::Duration};

use super::{Auth, BlobStream, Descriptor, Error, Resolved};
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
    /// How often an operation is tried, all mirrors counting as one, before it fails.
    pub attempts: u32,
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
        }
    }
}

/// Fetches manifests and blobs from registries and their mirrors.
#[derive(Debug)]
pub struct Client {
    config: Config,
}

impl Client {
    /// Makes a client; connections are made when they are needed.
    pub fn new(config: Config) -> Self {
        Self { config }
    }

    /// Fetches the manifest or index that a reference names: by its digest if it has one, else by its tag.
    pub async fn resolve(&self, reference: &Reference, _auth: Option<&Auth>) -> Result<Resolved, Error> {
        Err(self.missing(reference))
    }

    /// Fetches another manifest of the same repository, as an index points to it.
    pub async fn manifest_by_digest(
        &self,
        reference: &Reference,
        _digest: Digest,
        _auth: Option<&Auth>,
    ) -> Result<Resolved, Error> {
        Err(self.missing(reference))
    }

    /// Starts to fetch a blob. The stream gives exactly `descriptor.size` bytes in order or ends with an error; it
    /// resumes after broken connections, with the next mirror if there is one. Whether the bytes have the right digest
    /// is for the caller to check.
    pub async fn blob(
        &self,
        reference: &Reference,
        _descriptor: &Descriptor,
        _auth: Option<&Auth>,
    ) -> Result<BlobStream, Error> {
        Err(self.missing(reference))
    }

    fn missing(&self, reference: &Reference) -> Error {
        Error::Unavailable { what: format!("{reference} ({})", self.config.user_agent) }
    }
}
