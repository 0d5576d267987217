//! Debian's CNI plugins, with host-local's leases in a directory of the test.

use std::{fs, path::PathBuf, process::Command};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::Daemon;

/// Where a test's plugins have their configuration and their leases.
pub(crate) struct Plugins {
    dir: TempDir,
}

impl Plugins {
    /// A daemon whose pods get their network from plugins; there is no configuration yet.
    pub(crate) async fn start() -> (Self, Daemon) {
        let dir = tempfile::Builder::new().prefix("berth-test-cni").tempdir().expect("make a directory");
        let conf_dir = dir.path().join("net.d");
        let settings =
            format!("[network]\ndriver = \"cni\"\n[network.cni]\nconf_dir = {:?}\n", conf_dir.display().to_string());
        (Self { dir }, Daemon::start_with(&settings).await)
    }

    /// A daemon with a bridge network, and with further plugins after the bridge.
    pub(crate) async fn start_with(more: &[Value]) -> (Self, Daemon) {
        let (plugins, daemon) = Self::start().await;
        plugins.configure(more);
        daemon.import_busybox().await;
        (plugins, daemon)
    }

    /// Writes the network's configuration.
    pub(crate) fn configure(&self, more: &[Value]) {
        let bridge = json!({
            "type": "bridge", "bridge": "plug0", "isGateway": true, "hairpinMode": true,
            "ipam": {
                "type": "host-local", "dataDir": self.leases_dir(),
                "ranges": [[{ "subnet": "10.98.0.0/24" }], [{ "subnet": "fd00:98::/64" }]],
                "routes": [{ "dst": "0.0.0.0/0" }],
            },
        });
        let plugins: Vec<&Value> = std::iter::once(&bridge).chain(more).collect();
        let network = json!({ "cniVersion": "1.0.0", "name": "plugged", "plugins": plugins });
        fs::create_dir_all(self.dir.path().join("net.d")).expect("make a directory");
        fs::write(self.dir.path().join("net.d/10-plugged.conflist"), network.to_string()).expect("configure");
    }

    fn leases_dir(&self) -> PathBuf {
        self.dir.path().join("leases")
    }

    /// The addresses that host-local has given away.
    pub(crate) fn leases(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.leases_dir().join("plugged")) else { return Vec::new() };
        let names = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"));
        names.filter(|name| name.parse::<std::net::IpAddr>().is_ok()).collect()
    }

    /// Takes away what plugins keep for the pods to come.
    pub(crate) fn forget(&self) {
        run("ip", &["link", "delete", "plug0"]);
        run("nft", &["flush", "ruleset"]);
    }
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().expect("run a program");
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}
