//! Shared nouns: what more than one room speaks of.
//!
//! - **Owns:** ids, references, digests, pod and container configuration, mounts, resources, exit statuses.
//! - **Never:** does I/O, or knows any other room.
//! - **Runs in:** every process of the engine.
//! - **Start reading at:** [`pod::PodConfig`] and [`container::ContainerConfig`].

pub mod container;
pub mod digest;
pub mod exit;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
pub mod id;
pub mod mount;
pub mod pod;
pub mod port;
pub mod reference;
pub mod resources;
pub mod security;
pub mod signal;
pub mod size;
pub mod time;
pub mod usage;

pub use container::{ContainerConfig, ContainerMetadata, DeviceRequest, ImageSpec};
pub use digest::Digest;
pub use exit::{ExitReason, ExitStatus};
pub use id::Id;
pub use mount::{IdMapping, Mount, Propagation};
pub use pod::{DnsConfig, NamespaceMode, NamespaceOptions, PodConfig, PodMetadata, UserNamespace};
pub use port::{PortMapping, Protocol};
pub use reference::Reference;
pub use resources::{HugepageLimit, Resources};
pub use security::{ContainerSecurity, PodSecurity, Profile, SelinuxOptions, SupplementalGroupsPolicy};
pub use signal::Signal;
pub use size::Size;
pub use time::Timestamp;
pub use usage::{FilesystemSpace, FilesystemUsage};
