//! What a container may do, as it is asked for.

use serde::{Deserialize, Serialize};

use super::NamespaceOptions;

/// A seccomp or AppArmor profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Profile {
    /// The engine's own default.
    RuntimeDefault,
    /// None.
    Unconfined,
    /// An absolute path (seccomp) or a loaded profile's name (AppArmor).
    Localhost(String),
}

/// SELinux context parts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SelinuxOptions {
    /// SELinux user.
    pub user: String,
    /// SELinux role.
    pub role: String,
    /// SELinux type.
    pub kind: String,
    /// MLS/MCS level.
    pub level: String,
}

impl SelinuxOptions {
    /// `true` when nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.user.is_empty() && self.role.is_empty() && self.kind.is_empty() && self.level.is_empty()
    }
}

/// Whether the image's `/etc/group` adds to a container's groups.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SupplementalGroupsPolicy {
    /// The listed groups and those of the image's `/etc/group`.
    #[default]
    Merge,
    /// The listed groups only.
    Strict,
}

/// A pod's security context.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PodSecurity {
    /// The pod may hold privileged containers.
    pub privileged: bool,
    /// Read-only root of the sandbox itself.
    pub readonly_rootfs: bool,
    /// User of the sandbox process.
    pub run_as_user: Option<i64>,
    /// Group of the sandbox process.
    pub run_as_group: Option<i64>,
    /// Groups of the sandbox process.
    pub supplemental_groups: Vec<i64>,
    /// How the image's groups count.
    pub supplemental_groups_policy: SupplementalGroupsPolicy,
    /// SELinux context of the pod.
    pub selinux: SelinuxOptions,
    /// Seccomp profile of the sandbox process.
    pub seccomp: Option<Profile>,
    /// AppArmor profile of the sandbox process.
    pub apparmor: Option<Profile>,
}

/// A container's security context.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerSecurity {
    /// All capabilities and devices, no masks, no seccomp, no AppArmor.
    pub privileged: bool,
    /// Capabilities to add, without the `CAP_` prefix; `ALL` is known.
    pub add_capabilities: Vec<String>,
    /// Capabilities to drop; `ALL` is known.
    pub drop_capabilities: Vec<String>,
    /// Ambient capabilities to add.
    pub ambient_capabilities: Vec<String>,
    /// Whose namespaces the container uses.
    pub namespaces: NamespaceOptions,
    /// SELinux context.
    pub selinux: SelinuxOptions,
    /// User id.
    pub run_as_user: Option<i64>,
    /// Group id; needs a user.
    pub run_as_group: Option<i64>,
    /// User name, looked up in the image's `/etc/passwd`; empty for none.
    pub run_as_username: String,
    /// The root file system is read-only.
    pub readonly_rootfs: bool,
    /// Additional group ids.
    pub supplemental_groups: Vec<i64>,
    /// How the image's groups count.
    pub supplemental_groups_policy: SupplementalGroupsPolicy,
    /// `PR_SET_NO_NEW_PRIVS`.
    pub no_new_privs: bool,
    /// Paths that the container must not read; verbatim.
    pub masked_paths: Vec<String>,
    /// Paths that the container must not write; verbatim.
    pub readonly_paths: Vec<String>,
    /// Seccomp profile; `None` is unconfined.
    pub seccomp: Option<Profile>,
    /// AppArmor profile; `None` is the engine's default where AppArmor is on.
    pub apparmor: Option<Profile>,
}
