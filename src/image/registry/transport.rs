//! How connections to hosts are made, and the HTTP clients that make them.

use std::{
    collections::HashMap,
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use reqwest::redirect;

use super::{error::Failure, names::SystemNames, tls::client_config};

/// Age at which an HTTP client is replaced, so that certificates which the system has got since are believed.
const MAX_AGE: Duration = Duration::from_secs(600);
/// How long an unused connection is kept.
const IDLE: Duration = Duration::from_secs(30);

/// Certificates or a key in PEM form, as they were in a file.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Pem {
    /// Where it is from.
    pub(super) path: PathBuf,
    /// The file.
    pub(super) text: Arc<[u8]>,
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.path, f)
    }
}

/// Everything that two hosts must have in common to share an HTTP client.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Transport {
    /// Authorities that are believed besides the system's.
    pub(super) authorities: Vec<Pem>,
    /// Certificate with its key that we show.
    pub(super) identity: Option<Pem>,
    /// Whether any certificate is believed.
    pub(super) skip_verify: bool,
    /// Longest time to make a connection, including the TLS handshake.
    pub(super) connect_timeout: Duration,
    /// Whether the environment's proxies are left aside, as for this host itself.
    pub(super) direct: bool,
}

impl Transport {
    /// How hosts are reached that a host sends us to: they are not shown the certificate.
    pub(super) fn elsewhere(&self) -> Self {
        Self { identity: None, direct: false, ..self.clone() }
    }

    /// What remains for plain HTTP; with it no certificate is ever loaded.
    fn plain(&self) -> Self {
        Self { authorities: Vec::new(), identity: None, skip_verify: false, ..self.clone() }
    }
}

#[derive(PartialEq, Eq, Hash)]
struct Key {
    transport: Transport,
    tls: bool,
}

/// HTTP clients, one for each [`Transport`], each with its own pool of connections.
pub(super) struct Connections {
    user_agent: String,
    names: SystemNames,
    clients: Mutex<HashMap<Key, (reqwest::Client, Instant)>>,
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").finish_non_exhaustive()
    }
}

impl Connections {
    pub(super) fn new(user_agent: String) -> Self {
        // The HTTP client wants one even where it makes no use of it. Another part of the process may have been faster,
        // with the same: there is one in this binary.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self { user_agent, names: SystemNames::default(), clients: Mutex::default() }
    }

    /// The client for a transport, for TLS or for plain HTTP.
    ///
    /// Making one for TLS reads the system's certificates, which takes some milliseconds once in [`MAX_AGE`].
    pub(super) fn client(&self, transport: &Transport, tls: bool) -> Result<reqwest::Client, Failure> {
        let key = Key { transport: if tls { transport.clone() } else { transport.plain() }, tls };
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients.retain(|_, (_, made)| made.elapsed() < MAX_AGE);
        if let Some((client, _)) = clients.get(&key) {
            return Ok(client.clone());
        }
        let client = self.build(&key)?;
        clients.insert(key, (client.clone(), Instant::now()));
        Ok(client)
    }

    fn build(&self, key: &Key) -> Result<reqwest::Client, Failure> {
        let transport = &key.transport;
        // HTTP/1.1 only: parallel blobs then have a connection each, and one that is read slowly cannot use up the
        // receive window of the others.
        let mut builder = reqwest::Client::builder()
            .user_agent(&self.user_agent)
            .http1_only()
            .dns_resolver(self.names.clone())
            .redirect(redirect::Policy::none())
            .referer(false)
            .retry(reqwest::retry::never())
            .connect_timeout(transport.connect_timeout)
            .pool_idle_timeout(IDLE);
        if transport.direct {
            builder = builder.no_proxy();
        }
        if key.tls {
            builder = builder.tls_backend_preconfigured(client_config(transport)?);
        } else {
            builder = builder.tls_certs_only([]);
        }
        Ok(builder.build()?)
    }
}
