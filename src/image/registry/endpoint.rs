//! One host that serves a registry, and what it may be asked.

use std::time::Duration;

use http::HeaderMap;
use reqwest::Url;

use super::transport::Transport;

/// What a host may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Capability {
    /// Manifests and blobs by their digests.
    Pull,
    /// Which manifest a tag stands for.
    Resolve,
    /// To take content.
    Push,
}

/// A host that serves a registry: the upstream one or a mirror.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    /// Address of the API, without a slash at the end: `https://mirror.example/v2`.
    pub(super) base: Url,
    /// What it may be asked for.
    pub(super) capabilities: Vec<Capability>,
    /// Sent with every request, and nowhere else.
    pub(super) headers: HeaderMap,
    /// How to connect.
    pub(super) transport: Transport,
    /// Whether plain HTTP is tried when the host does not speak TLS.
    pub(super) plain_fallback: bool,
    /// Whether this is the registry itself and not a mirror of it.
    pub(super) upstream: bool,
    /// Whether a mirror gets the credentials that were given for the upstream registry.
    pub(super) forward_credentials: bool,
    /// Whether this is only the address of one blob, which a manifest names. Such a host never gets credentials, because
    /// whoever made the image has chosen it.
    pub(super) foreign: bool,
    /// The domain of the images, for mirrors that serve several.
    pub(super) namespace: Option<String>,
}

impl Endpoint {
    /// The host of one blob, by its whole address; `None` if it is not on the web.
    pub(super) fn foreign(address: &str, connect_timeout: Duration) -> Option<Self> {
        let base = Url::parse(address).ok()?;
        let is_web = matches!(base.scheme(), "http" | "https") && base.has_host();
        let is_plain = base.username().is_empty() && base.password().is_none();
        (is_web && is_plain).then(|| Self {
            capabilities: vec![Capability::Pull],
            headers: HeaderMap::new(),
            transport: Transport {
                authorities: Vec::new(),
                identity: None,
                skip_verify: false,
                connect_timeout,
                direct: is_loopback(authority(&base)),
            },
            plain_fallback: false,
            upstream: false,
            forward_credentials: false,
            foreign: true,
            namespace: None,
            base,
        })
    }

    /// Host and port as the address gives them.
    pub(super) fn host(&self) -> &str {
        authority(&self.base)
    }

    /// Whether it may be asked for that.
    pub(super) fn can(&self, capability: Capability) -> bool {
        self.capabilities.contains(&capability)
    }

    /// The address of something in a repository: `manifests/latest`, `blobs/sha256:…`.
    pub(super) fn url(&self, repository: &str, object: &str) -> Url {
        let mut url = self.base.clone();
        if self.foreign {
            return url;
        }
        let path = format!("{}/{repository}/{object}", self.base.path().trim_end_matches('/'));
        url.set_path(&path);
        if let Some(namespace) = &self.namespace {
            url.query_pairs_mut().append_pair("ns", namespace);
        }
        url
    }
}

/// Host and port of an address, without credentials; the port only if it is not the scheme's own.
pub(super) fn authority(url: &Url) -> &str {
    let authority = url.authority();
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

/// Whether an address is on this very machine: `localhost`, 127.0.0.0/8 or `::1`, with or without a port.
pub(super) fn is_loopback(host: &str) -> bool {
    let (name, _) = split_port(host);
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Splits `host:port`; an IPv6 address stays in its brackets.
pub(super) fn split_port(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (host, None),
    }
}
