//! A container as it is asked for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ContainerSecurity, Mount, Resources, Signal};

/// Annotation of a container, or of its pod for all containers in it: the size of its writable layer at most, as `10Gi`.
pub const LAYER_LIMIT: &str = "berth.run/writable-layer-limit";

/// All that a container is made from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerConfig {
    /// What makes its name within the pod.
    pub metadata: ContainerMetadata,
    /// The image to run.
    pub image: ImageSpec,
    /// Replaces the image's entry point.
    pub command: Vec<String>,
    /// Replaces the image's arguments.
    pub args: Vec<String>,
    /// Replaces the image's working directory.
    pub working_dir: String,
    /// Environment, after the image's; later entries win.
    pub envs: Vec<(String, String)>,
    /// Mounts.
    pub mounts: Vec<Mount>,
    /// Host devices.
    pub devices: Vec<DeviceRequest>,
    /// Qualified names of CDI devices.
    pub cdi_devices: Vec<String>,
    /// Labels, byte-exact.
    pub labels: BTreeMap<String, String>,
    /// Annotations, byte-exact.
    pub annotations: BTreeMap<String, String>,
    /// Log file, relative to the pod's log directory; empty for none.
    pub log_path: String,
    /// Keep standard input open for attach.
    pub stdin: bool,
    /// Close standard input after the first attach session.
    pub stdin_once: bool,
    /// Give it a terminal.
    pub tty: bool,
    /// Limits.
    pub resources: Resources,
    /// Security context.
    pub security: ContainerSecurity,
    /// Stop signal; `None` is the image's.
    pub stop_signal: Option<Signal>,
}

/// What makes a container's name within its pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerMetadata {
    /// Name.
    pub name: String,
    /// How often it was tried before.
    pub attempt: u32,
}

/// A reference to an image, as the caller gave it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageSpec {
    /// Name, digest or id.
    pub image: String,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// The name in the pod's manifest.
    pub user_specified_image: String,
    /// Runtime handler for which it is pulled.
    pub runtime_handler: String,
    /// What PullImage returned.
    pub image_ref: String,
}

/// A host device to be given to a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceRequest {
    /// Where it appears.
    pub container_path: String,
    /// A device node, or a directory of them.
    pub host_path: String,
    /// Some of `r`, `w` and `m`.
    pub permissions: String,
}
