//! From the settings to the configuration of each room.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::Settings;
use crate::{cri, daemon::Error, engine, image, network};

impl Settings {
    /// Checks what can be checked without the host.
    pub(super) fn check(&self) -> Result<(), Error> {
        let (socket, cni) = (self.socket_path(), &self.network.cni);
        let single = [
            ("root", &self.root),
            ("state", &self.state),
            ("socket.path", &socket),
            ("network.cni.conf_dir", &cni.conf_dir),
        ];
        for (key, path) in single.into_iter().chain(cni.bin_dirs.iter().map(|path| ("network.cni.bin_dirs", path))) {
            if !path.is_absolute() {
                return Err(Error::Setting { key, problem: format!("must be an absolute path, not {path:?}") });
            }
        }
        let policy = &self.image.signature_policy;
        if policy.is_relative() && !policy.as_os_str().is_empty() {
            let problem = format!("must be an absolute path or empty, not {policy:?}");
            return Err(Error::Setting { key: "image.signature_policy", problem });
        }
        if self.runtime.handlers.iter().any(String::is_empty) {
            let problem = "has an empty name; the empty handler is always there".to_owned();
            return Err(Error::Setting { key: "runtime.handlers", problem });
        }
        self.check_layer_limits()
    }

    fn check_layer_limits(&self) -> Result<(), Error> {
        let (limit, maximum) = (self.containers.writable_layer_limit.0, self.containers.writable_layer_maximum.0);
        let keys = [("containers.writable_layer_limit", limit), ("containers.writable_layer_maximum", maximum)];
        for (key, size) in keys {
            if size.is_some_and(|size| size < image::LayerLimits::SMALLEST) {
                let problem = format!("must be {} at least", image::LayerLimits::SMALLEST);
                return Err(Error::Setting { key, problem });
            }
        }
        if let (Some(limit), Some(maximum)) = (limit, maximum)
            && limit > maximum
        {
            let problem = format!("is more than containers.writable_layer_maximum, {maximum}");
            return Err(Error::Setting { key: "containers.writable_layer_limit", problem });
        }
        Ok(())
    }

    /// How much containers may write into their own layers. Each of the two settings stands for both if it is alone.
    fn layer_limits(&self) -> image::LayerLimits {
        let (limit, maximum) = (self.containers.writable_layer_limit.0, self.containers.writable_layer_maximum.0);
        image::LayerLimits { default: limit.or(maximum), maximum: maximum.or(limit) }
    }

    /// Where callers come in.
    pub(crate) fn socket_path(&self) -> PathBuf {
        if self.socket.path.as_os_str().is_empty() { self.state.join("berth.sock") } else { self.socket.path.clone() }
    }

    /// How long RPCs under way may take to end.
    pub(crate) fn grace(&self) -> Duration {
        Duration::from_secs(self.shutdown.grace)
    }

    /// What the network room needs to know.
    pub(crate) fn network(&self) -> network::Config {
        let network = &self.network;
        network::Config {
            run_dir: self.state.join("network"),
            subnets: network.subnets.clone(),
            driver: network.driver,
            device: network.device.clone(),
            mtu: Some(network.mtu).filter(|mtu| *mtu > 0),
            table: network.table.clone(),
            masquerade: network.masquerade,
            unmasqueraded: network.unmasqueraded.clone(),
            cni: network::CniConfig {
                conf_dir: network.cni.conf_dir.clone(),
                bin_dirs: network.cni.bin_dirs.clone(),
                cache_dir: self.root.join("cni"),
                timeout: Duration::from_secs(network.cni.timeout),
            },
        }
    }

    /// What the image store needs to know.
    pub(crate) fn image(&self) -> image::Config {
        let existing = self.image.certs_dirs.iter().find(|directory| directory.is_dir());
        image::Config {
            root: self.root.join("image"),
            containers: self.root.join("containers"),
            certs_dir: existing.or(self.image.certs_dirs.first()).cloned().unwrap_or_default(),
            keep_blobs: self.image.keep_blobs,
            pinned: self.image.pinned.clone(),
            credentials: self.image.credentials.clone(),
            signature_policy: Some(self.image.signature_policy.clone()).filter(|path| !path.as_os_str().is_empty()),
            layer_limits: self.layer_limits(),
        }
    }

    /// What the engine needs to know.
    pub(crate) fn engine(&self) -> engine::Config {
        engine::Config {
            root: self.root.clone(),
            run: self.state.clone(),
            cgroup_driver: self.cgroup.driver,
            cgroup_root: self.cgroup.root.clone(),
            cdi_dirs: self.runtime.cdi_spec_dirs.clone(),
            restore_checkpoints: self.runtime.restore_checkpoints,
            handlers: self.runtime.handlers.clone(),
        }
    }

    /// What the CRI door tells of the node.
    pub(crate) fn cri(&self) -> cri::Config {
        let mut settings = serde_json::to_value(self).unwrap_or_default();
        settings["stateDir"] = Path::new(&self.state).to_string_lossy().into();
        cri::Config { handlers: self.runtime.handlers.clone(), cgroup_driver: self.cgroup.driver, settings }
    }
}
