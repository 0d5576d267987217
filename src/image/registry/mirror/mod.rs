//! Which hosts serve a registry: mirrors first, the registry itself last.
//!
//! The configuration is containerd's: a directory with a directory for each registry, `<host>_<port>_`, `<host:port>`
//! or `<host>`, else `_default`, which holds either `hosts.toml` or certificates by docker's naming. It is read for
//! every operation, so that changes need no restart.

mod certificates;
#[cfg(any(test, feature = "fuzzing"))]
mod fuzz;
mod hosts_file;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use fuzz::hosts_toml as fuzz_hosts_toml;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use reqwest::Url;

use super::{
    endpoint::{Capability, Endpoint, authority, is_loopback, split_port},
    error::Error,
    transport::{Pem, Transport},
};

/// Domain of Docker Hub's names, and the host that serves them.
const DOCKER_HUB: (&str, &str) = ("docker.io", "registry-1.docker.io");
/// Directory for registries that have none of their own.
const DEFAULT_DIRECTORY: &str = "_default";
/// Longest wait for a TLS handshake with a host that may well not speak TLS.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);
/// Largest configuration or certificate file that is read.
const MAX_FILE: u64 = 1 << 20;

/// What is configured for one host, all paths resolved and files read.
#[derive(Debug, Default)]
struct HostConfig {
    /// Address of the API; `None` for the registry that the directory is for.
    address: Option<Url>,
    capabilities: Option<Vec<Capability>>,
    authorities: Vec<Pem>,
    identity: Option<Pem>,
    skip_verify: Option<bool>,
    headers: http::HeaderMap,
    dial_timeout: Option<Duration>,
    forward_credentials: bool,
    /// Whether this is the host that the others fall back to.
    server: bool,
}

/// The hosts that serve a registry, in the order in which they are to be asked.
pub(super) async fn endpoints(
    certs_dir: &Path,
    domain: &str,
    connect_timeout: Duration,
) -> Result<Vec<Endpoint>, Error> {
    let directory = directory_of(certs_dir, domain).await?;
    let own_directory = directory.as_deref().is_some_and(|path| !path.ends_with(DEFAULT_DIRECTORY));
    let hosts = match &directory {
        Some(directory) => load(directory).await?,
        None => vec![HostConfig { server: true, ..HostConfig::default() }],
    };
    let registry = default_address(domain)?;
    let endpoint = |host| endpoint(host, domain, &registry, own_directory, connect_timeout);
    Ok(hosts.into_iter().map(endpoint).collect())
}

/// The directory that configures a registry, if there is one.
async fn directory_of(certs_dir: &Path, domain: &str) -> Result<Option<PathBuf>, Error> {
    let (name, port) = split_port(domain);
    let underscored = port.map(|port| format!("{name}_{port}_"));
    for name in underscored.iter().map(String::as_str).chain([domain, DEFAULT_DIRECTORY]) {
        let path = certs_dir.join(name);
        match tokio::fs::metadata(&path).await {
            Ok(metadata) if metadata.is_dir() => return Ok(Some(path)),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            Err(source) => return Err(Error::ReadHosts { path, source }),
        }
    }
    Ok(None)
}

async fn load(directory: &Path) -> Result<Vec<HostConfig>, Error> {
    let path = directory.join("hosts.toml");
    match read(&path).await {
        Ok(text) => hosts_file::parse(directory, &path, &text).await,
        Err(Error::ReadHosts { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Ok(vec![certificates::load(directory).await?])
        }
        Err(error) => Err(error),
    }
}

/// Turns a host's configuration into an endpoint, with containerd's defaults.
fn endpoint(
    host: HostConfig,
    domain: &str,
    registry: &Url,
    own_directory: bool,
    connect_timeout: Duration,
) -> Endpoint {
    let explicit_tls = !host.authorities.is_empty() || host.identity.is_some() || host.skip_verify.is_some();
    let named = host.address.is_some();
    let mut base = host.address.unwrap_or_else(|| registry.clone());
    let loopback = is_loopback(authority(&base));
    // A loopback registry is believed to be itself, and speaks TLS or not whatever its port.
    let guessed = !named && loopback && base.scheme() == "http";
    let plain_fallback =
        base.scheme() == "http" && (explicit_tls || guessed) && base.port_or_known_default() != Some(80);
    if plain_fallback {
        base = with_tls(base);
    }
    let connect_timeout = host.dial_timeout.unwrap_or(connect_timeout);
    let is_registry_itself = !named || same_registry(authority(&base), domain);
    Endpoint {
        capabilities: host
            .capabilities
            .unwrap_or_else(|| vec![Capability::Pull, Capability::Resolve, Capability::Push]),
        headers: host.headers,
        transport: Transport {
            authorities: host.authorities,
            identity: host.identity,
            skip_verify: host.skip_verify.unwrap_or(!named && loopback),
            connect_timeout: if plain_fallback { connect_timeout.min(PROBE_TIMEOUT) } else { connect_timeout },
            direct: loopback,
        },
        plain_fallback,
        upstream: is_registry_itself || (host.server && own_directory),
        forward_credentials: host.forward_credentials,
        foreign: false,
        namespace: (!is_registry_itself).then(|| domain.to_owned()),
        base,
    }
}

/// The address of a registry that is not configured otherwise: TLS, but plain HTTP on loopback ports other than 443.
fn default_address(domain: &str) -> Result<Url, Error> {
    let (hub, hub_host) = DOCKER_HUB;
    let host = if domain == hub { hub_host } else { domain };
    let (_, port) = split_port(host);
    let plain = is_loopback(host) && !matches!(port, None | Some("443"));
    let scheme = if plain { "http" } else { "https" };
    let address = Url::parse(&format!("{scheme}://{host}/v2"));
    address.map_err(|_| Error::InvalidDomain { domain: domain.to_owned() })
}

/// The same address with TLS; the port stays.
fn with_tls(address: Url) -> Url {
    let port = address.port_or_known_default();
    let mut secure = address;
    // Both cannot fail: the scheme is a special one as before, and there is a host.
    let _ = secure.set_scheme("https");
    let _ = secure.set_port(port);
    secure
}

/// Whether a host is the one that a domain in names of images stands for; the port 443 may be left out.
pub(super) fn same_registry(host: &str, domain: &str) -> bool {
    let (hub, hub_host) = DOCKER_HUB;
    let canonical = |host: &str| {
        let host = host.strip_suffix(":443").unwrap_or(host).to_ascii_lowercase();
        if host == hub_host || host == "index.docker.io" { hub.to_owned() } else { host }
    };
    canonical(host) == canonical(domain)
}

async fn read(path: &Path) -> Result<String, Error> {
    let bytes = read_bytes(path).await?;
    String::from_utf8(bytes).map_err(|_| invalid(path, "it is not UTF-8 text".to_owned()))
}

async fn read_pem(path: PathBuf) -> Result<Pem, Error> {
    let text = read_bytes(&path).await?;
    Ok(Pem { path, text: Arc::from(text) })
}

/// Certificate and key as one text, from two files or from one that has both.
async fn read_identity(certificate: PathBuf, key: Option<PathBuf>) -> Result<Pem, Error> {
    let mut text = read_bytes(&certificate).await?;
    if let Some(key) = key {
        text.push(b'\n');
        text.extend(read_bytes(&key).await?);
    }
    Ok(Pem { path: certificate, text: Arc::from(text) })
}

async fn read_bytes(path: &Path) -> Result<Vec<u8>, Error> {
    use tokio::io::AsyncReadExt as _;
    let unreadable = |source| Error::ReadHosts { path: path.to_owned(), source };
    let file = tokio::fs::File::open(path).await.map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).await.map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(invalid(path, format!("it is longer than {MAX_FILE} bytes")));
    }
    Ok(bytes)
}

fn invalid(path: &Path, reason: String) -> Error {
    Error::InvalidHosts { path: path.to_owned(), reason }
}

#[cfg(test)]
mod tests;
