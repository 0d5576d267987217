//! Specification files, as vendors write them.

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    path::Path,
};

use serde::{Deserialize, de::IgnoredAny};

use super::name;

/// Versions of the specification of which every field is known here.
const VERSIONS: [&str; 8] = ["0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0"];

/// The devices of one vendor and class.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Spec {
    cdi_version: String,
    /// `vendor.com/class`.
    pub(super) kind: String,
    #[serde(default, rename = "annotations")]
    _annotations: BTreeMap<String, String>,
    /// The devices.
    pub(super) devices: Vec<Device>,
    /// What a container needs for any of them.
    #[serde(default)]
    pub(super) container_edits: ContainerEdits,
}

/// One device.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Device {
    /// Its name within its kind.
    pub(super) name: String,
    #[serde(default, rename = "annotations")]
    _annotations: BTreeMap<String, String>,
    /// What a container needs for it.
    pub(super) container_edits: ContainerEdits,
}

/// Changes of a container.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct ContainerEdits {
    /// `NAME=value` entries.
    pub(super) env: Vec<String>,
    /// Device nodes.
    pub(super) device_nodes: Vec<DeviceNode>,
    /// Network devices.
    pub(super) net_devices: Vec<IgnoredAny>,
    /// Programs of the host to be run on the way.
    pub(super) hooks: Vec<Hook>,
    /// Mounts.
    pub(super) mounts: Vec<Mount>,
    /// Cache and memory bandwidth classes.
    pub(super) intel_rdt: Option<IgnoredAny>,
    /// Groups for the container's first process.
    pub(super) additional_gids: Vec<u32>,
}

/// A device node.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DeviceNode {
    /// Where it appears.
    pub(super) path: String,
    /// The host's node, when it has another path there.
    #[serde(default)]
    pub(super) host_path: String,
    /// `b`, `c`, `u` or `p`; empty for that of the host's.
    #[serde(default, rename = "type")]
    pub(super) kind: String,
    /// Major number; 0 for that of the host's.
    #[serde(default)]
    pub(super) major: u32,
    /// Minor number.
    #[serde(default)]
    pub(super) minor: u32,
    /// Permission bits.
    pub(super) file_mode: Option<u32>,
    /// Some of `r`, `w` and `m`; empty for all.
    #[serde(default)]
    pub(super) permissions: String,
    /// Owner.
    pub(super) uid: Option<u32>,
    /// Group.
    pub(super) gid: Option<u32>,
}

/// A program of the host.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Hook {
    /// When it is run, as the OCI runtime specification calls it.
    pub(super) hook_name: String,
    /// The program.
    pub(super) path: String,
    /// Its arguments, from its own name on.
    #[serde(default)]
    pub(super) args: Vec<String>,
    /// All of its environment, as `NAME=value`.
    #[serde(default)]
    pub(super) env: Vec<String>,
    /// How long it may take, seconds.
    pub(super) timeout: Option<u64>,
}

/// A mount.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Mount {
    /// What of the host.
    pub(super) host_path: String,
    /// Where.
    pub(super) container_path: String,
    /// Options, as mount(8) words them.
    #[serde(default)]
    pub(super) options: Vec<String>,
    /// Kind of file system; empty, `bind` or `none` for a bind mount.
    #[serde(default, rename = "type")]
    pub(super) kind: String,
}

impl Spec {
    /// Reads a file, by its extension as JSON or as YAML.
    ///
    /// # Errors
    /// What is wrong with it, for a person.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
        let is_json = path.extension().is_some_and(|extension| extension == "json");
        Self::parse(&text, is_json)
    }

    /// As [`Self::read`], from the file's text.
    pub(super) fn parse(text: &str, is_json: bool) -> Result<Self, String> {
        let spec: Self = match is_json {
            true => serde_json::from_str(text).map_err(|error| error.to_string())?,
            // The whole message draws the place in the file over several lines.
            false => serde_saphyr::from_str(text)
                .map_err(|error| error.to_string().lines().next().unwrap_or_default().to_owned())?,
        };
        spec.check()?;
        Ok(spec)
    }

    fn check(&self) -> Result<(), String> {
        if !VERSIONS.contains(&self.cdi_version.as_str()) {
            return Err(format!("cdiVersion {:?} is none of those from 0.3.0 to 1.1.0", self.cdi_version));
        }
        if !name::is_kind(&self.kind) {
            return Err(format!("kind {:?} is not like vendor.com/class", self.kind));
        }
        if self.devices.is_empty() {
            return Err("it has no devices".to_owned());
        }
        let mut seen = HashSet::new();
        for device in &self.devices {
            if !name::is_device(&device.name) {
                return Err(format!("device name {:?} is not of letters, digits and signs between them", device.name));
            }
            if !seen.insert(&device.name) {
                return Err(format!("device {:?} is there twice", device.name));
            }
        }
        Ok(())
    }
}
