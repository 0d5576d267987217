//! Mounts as they are asked for.

use serde::{Deserialize, Serialize};

use super::ImageSpec;

/// A host path or an image to be mounted into a container, exactly as the caller gave it: kubelet compares the
/// strings that come back, so nothing here is cleaned or resolved.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Mount {
    /// Where it appears in the container.
    pub container_path: String,
    /// What is mounted; symbolic links are followed on the host. Empty for an image mount.
    pub host_path: String,
    /// No writes through this mount.
    pub readonly: bool,
    /// Also no writes through mounts below it; needs `readonly` and private propagation.
    pub recursive_read_only: bool,
    /// The source gets the container's SELinux label.
    pub selinux_relabel: bool,
    /// Whether later mounts pass between host and container.
    pub propagation: Propagation,
    /// User ids as the container sees them on this mount; empty for the pod's own map.
    pub uid_mappings: Vec<IdMapping>,
    /// Group ids as the container sees them on this mount.
    pub gid_mappings: Vec<IdMapping>,
    /// The image to mount instead of a host path.
    pub image: Option<ImageSpec>,
    /// A path within that image; empty for its root.
    pub image_sub_path: String,
}

/// Mount propagation, `mount_namespaces(7)`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Propagation {
    /// Neither side sees the other's later mounts.
    #[default]
    Private,
    /// The container sees mounts that the host makes later.
    HostToContainer,
    /// Both see each other's.
    Bidirectional,
}

/// One line of an id map, `user_namespaces(7)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMapping {
    /// First id on the host.
    pub host_id: u32,
    /// First id in the container.
    pub container_id: u32,
    /// How many ids follow each other.
    pub length: u32,
}
