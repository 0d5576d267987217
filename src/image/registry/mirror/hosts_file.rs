//! `hosts.toml`, containerd's "Registry Configuration": what each host may be asked, and how it is connected to.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue};
use reqwest::Url;
use serde::{
    Deserialize,
    de::{MapAccess, Visitor},
};

use super::{Capability, HostConfig, invalid, read_identity, read_pem};
use crate::image::registry::error::Error;

/// The file, and each `[host."…"]` table in it: they have all keys in common but the first two, which are the file's.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Table {
    server: Option<String>,
    host: Hosts,
    capabilities: Vec<String>,
    ca: OneOrMany,
    client: Option<ClientFiles>,
    skip_verify: Option<bool>,
    header: BTreeMap<String, OneOrMany>,
    override_path: bool,
    dial_timeout: Option<String>,
    /// Ours: a mirror with it gets the credentials of the pull.
    forward_credentials: bool,
}

/// The `[host."…"]` tables in the order of the file, which is the order they are asked in.
#[derive(Debug, Default)]
struct Hosts(Vec<(String, Table)>);

impl<'de> Deserialize<'de> for Hosts {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Hosts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("tables named by the addresses of hosts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Hosts, A::Error> {
                let mut hosts = Vec::new();
                while let Some(host) = map.next_entry()? {
                    hosts.push(host);
                }
                Ok(Hosts(hosts))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a string or an array of strings")]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl Default for OneOrMany {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl OneOrMany {
    fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
}

/// Files with a client certificate and its key. A single name, also in an array, is a file that has both.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a file name, an array of them or an array of [certificate, key] pairs")]
enum ClientFiles {
    One(String),
    Many(Vec<ClientFile>),
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum ClientFile {
    Both(String),
    Pair([String; 2]),
}

/// Reads the hosts of a file, in its order, with the server that they are mirrors of at the end.
pub(super) async fn parse(directory: &Path, path: &Path, text: &str) -> Result<Vec<HostConfig>, Error> {
    let mut file: Table = toml::from_str(text).map_err(|error| invalid(path, error.to_string().trim().to_owned()))?;
    let source = Source { directory, path };
    let mut hosts = Vec::new();
    for (address, table) in std::mem::take(&mut file.host).0 {
        if table.server.is_some() || !table.host.0.is_empty() {
            return Err(source.invalid(&address, "a host has no server or hosts of its own"));
        }
        hosts.push(source.host(&address, table).await?);
    }
    let server = file.server.take().unwrap_or_default();
    let mut host = source.host(&server, file).await?;
    host.server = true;
    if server.is_empty() {
        // The path is the registry's own, and so is what it can do.
        host.capabilities = None;
    }
    hosts.push(host);
    Ok(hosts)
}

/// The file that is being read.
struct Source<'a> {
    directory: &'a Path,
    path: &'a Path,
}

impl Source<'_> {
    async fn host(&self, address: &str, table: Table) -> Result<HostConfig, Error> {
        let mut host = HostConfig {
            address: self.address(address, table.override_path)?,
            capabilities: self.capabilities(address, &table.capabilities)?,
            skip_verify: table.skip_verify,
            headers: self.headers(address, table.header)?,
            forward_credentials: table.forward_credentials,
            ..HostConfig::default()
        };
        if let Some(text) = &table.dial_timeout {
            let wrong = || self.invalid(address, "dial_timeout is not a duration like 10s or 1m30s");
            host.dial_timeout = Some(parse_duration(text).ok_or_else(wrong)?);
        }
        for name in table.ca.into_vec() {
            host.authorities.push(read_pem(self.directory.join(name)).await?);
        }
        if let Some((certificate, key)) = table.client.and_then(|files| self.first_client(files)) {
            host.identity = Some(read_identity(certificate, key).await?);
        }
        Ok(host)
    }

    /// The address of a host's API: `/v2` is added unless it is there or `override_path` is set.
    fn address(&self, text: &str, override_path: bool) -> Result<Option<Url>, Error> {
        if text.is_empty() {
            return Ok(None);
        }
        let with_scheme = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
        let mut url = Url::parse(&with_scheme).map_err(|error| self.invalid(text, &error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(self.invalid(text, "a host's address begins with http:// or https://"));
        }
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
            return Err(self.invalid(text, "a host's address has no user, query or fragment"));
        }
        let mut path = url.path().trim_end_matches('/').to_owned();
        if !override_path && !path.ends_with("/v2") {
            path.push_str("/v2");
        }
        url.set_path(&path);
        Ok(Some(url))
    }

    fn capabilities(&self, address: &str, names: &[String]) -> Result<Option<Vec<Capability>>, Error> {
        if names.is_empty() {
            return Ok(None);
        }
        let mut capabilities = Vec::new();
        for name in names {
            match name.to_ascii_lowercase().as_str() {
                "pull" => capabilities.push(Capability::Pull),
                "resolve" => capabilities.push(Capability::Resolve),
                "push" => capabilities.push(Capability::Push),
                // A newer one of containerd's; nothing here asks for referrers.
                "referrers" => {}
                _ => return Err(self.invalid(address, "capabilities are pull, resolve and push")),
            }
        }
        Ok(Some(capabilities))
    }

    fn headers(&self, address: &str, table: BTreeMap<String, OneOrMany>) -> Result<HeaderMap, Error> {
        let mut headers = HeaderMap::new();
        for (name, values) in table {
            let name: HeaderName = name.parse().map_err(|_| self.invalid(address, "malformed name of a header"))?;
            for value in values.into_vec() {
                let wrong = |_| self.invalid(address, "malformed value of a header");
                let mut value = HeaderValue::from_str(&value).map_err(wrong)?;
                // Headers are where mirrors' credentials are configured.
                value.set_sensitive(true);
                headers.append(&name, value);
            }
        }
        Ok(headers)
    }

    /// One certificate is all that a connection can show; which of several is not for us to know.
    fn first_client(&self, files: ClientFiles) -> Option<(PathBuf, Option<PathBuf>)> {
        let first = match files {
            ClientFiles::One(both) => ClientFile::Both(both),
            ClientFiles::Many(many) => {
                if many.len() > 1 {
                    tracing::warn!(path = %self.path.display(), "only the first client certificate is used");
                }
                many.into_iter().next()?
            }
        };
        Some(match first {
            ClientFile::Both(both) => (self.directory.join(both), None),
            ClientFile::Pair([certificate, key]) => {
                let key = (!key.is_empty()).then(|| self.directory.join(key));
                (self.directory.join(certificate), key)
            }
        })
    }

    fn invalid(&self, address: &str, reason: &str) -> Error {
        let subject = if address.is_empty() { String::new() } else { format!("host {address:?}: ") };
        invalid(self.path, format!("{subject}{reason}"))
    }
}

/// Reads a duration as Go writes it: `300ms`, `10s`, `1m30s`, `1.5h`.
fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let unit_at = rest.find(|byte: char| !byte.is_ascii_digit() && byte != '.')?;
        let (number, tail) = rest.split_at(unit_at);
        let number_ends = tail.find(|byte: char| byte.is_ascii_digit() || byte == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(number_ends);
        let scale = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * scale;
        rest = tail;
    }
    Duration::try_from_secs_f64(seconds).ok().filter(|duration| !duration.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        for (text, milliseconds) in [("300ms", 300), ("10s", 10_000), ("1m30s", 90_000), ("1.5s", 1500)] {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        for bad in ["", "10", "s", "-1s", "1d", "1 s", "..s", "0s", "99999999999999999999h"] {
            assert_eq!(parse_duration(bad), None, "{bad:?}");
        }
    }
}
