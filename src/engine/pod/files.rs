//! The files that a pod gives its containers: `resolv.conf`, `hostname` and `hosts`.

use std::{fmt::Write as _, fs, io, net::IpAddr, path::Path};

use super::Pod;
use crate::{
    engine::Error,
    types::{DnsConfig, NamespaceMode},
};

/// Writes the pod's files into its directory. Blocking.
pub(super) fn write(pod: &Pod, ips: &[IpAddr]) -> Result<(), Error> {
    let config = &pod.config;
    let resolv = match config.dns.as_ref().and_then(resolv_conf) {
        Some(text) => text,
        None => read_host("/etc/resolv.conf")?,
    };
    put(&pod.dir.join("resolv.conf"), &resolv)?;
    let hostname = hostname(&config.hostname, config.namespaces.network)?;
    put(&pod.dir.join("hostname"), &format!("{hostname}\n"))?;
    let hosts = match config.namespaces.network {
        NamespaceMode::Node => read_host("/etc/hosts")?,
        _ => hosts(&hostname, ips),
    };
    put(&pod.dir.join("hosts"), &hosts)
}

/// The text for a DNS configuration; `None` when it says nothing, which means the host's.
fn resolv_conf(dns: &DnsConfig) -> Option<String> {
    if dns.servers.is_empty() && dns.searches.is_empty() && dns.options.is_empty() {
        return None;
    }
    let mut text = String::new();
    if !dns.searches.is_empty() {
        let _ = writeln!(text, "search {}", dns.searches.join(" "));
    }
    for server in &dns.servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    if !dns.options.is_empty() {
        let _ = writeln!(text, "options {}", dns.options.join(" "));
    }
    Some(text)
}

/// The pod's host name: its own, or the node's when it has none or shares the node's network.
fn hostname(asked: &str, network: NamespaceMode) -> Result<String, Error> {
    if network != NamespaceMode::Node && !asked.is_empty() {
        return Ok(asked.to_owned());
    }
    let name = fs::read_to_string("/proc/sys/kernel/hostname")
        .map_err(|source| Error::file("read", "/proc/sys/kernel/hostname", source))?;
    Ok(name.trim_end().to_owned())
}

fn hosts(hostname: &str, ips: &[IpAddr]) -> String {
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\n\
         ff00::0\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n",
    );
    for ip in ips {
        let _ = writeln!(text, "{ip}\t{hostname}");
    }
    text
}

fn read_host(path: &str) -> Result<String, Error> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(source) => Err(Error::file("read", path, source)),
    }
}

fn put(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(|source| Error::file("write", path, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_holds_exactly_what_was_asked_for() {
        let dns = DnsConfig {
            servers: vec!["10.0.0.1".into(), "fd00::1".into()],
            searches: vec!["a.example".into(), "example".into()],
            options: vec!["ndots:5".into()],
        };
        let text = "search a.example example\nnameserver 10.0.0.1\nnameserver fd00::1\noptions ndots:5\n";
        assert_eq!(resolv_conf(&dns).as_deref(), Some(text));
        assert_eq!(resolv_conf(&DnsConfig::default()), None);
    }

    #[test]
    fn hosts_name_the_pod_by_all_its_addresses() {
        let text = hosts("web", &["10.88.0.2".parse().unwrap(), "fd00::2".parse().unwrap()]);
        assert!(text.ends_with("10.88.0.2\tweb\nfd00::2\tweb\n"), "{text}");
    }
}
