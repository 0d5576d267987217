//! Fuzz target of `hosts.toml`.

use std::{path::Path, time::Duration};

use super::{default_address, endpoint, hosts_file};

/// A directory that is not there: certificates that a file names are not read.
const NOWHERE: &str = "/nonexistent/certs.d";

/// The hosts of a registry; what is taken can be turned into endpoints.
pub(crate) fn hosts_toml(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    // Relative names only: an absolute one could be a device or a pipe of this host.
    if text.contains("\"/") || text.contains("'/") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let directory = Path::new(NOWHERE);
    let parsed = runtime.block_on(hosts_file::parse(directory, &directory.join("hosts.toml"), &text));
    let Ok(hosts) = parsed else { return };
    assert!(hosts.last().is_some_and(|host| host.server), "the server is the last one");
    for domain in ["docker.io", "registry.example.com:5000", "localhost:5000"] {
        let registry = default_address(domain).expect("an address");
        let hosts = runtime.block_on(hosts_file::parse(directory, &directory.join("hosts.toml"), &text));
        for host in hosts.expect("it was parsed before") {
            let _ = endpoint(host, domain, &registry, true, Duration::from_secs(1)).host();
        }
    }
}
