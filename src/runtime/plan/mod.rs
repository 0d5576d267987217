//! Plans: all decisions about a pod, a container or an exec, taken before anything is touched.
//!
//! - **Owns:** what follows from a request and the host's facts: arguments, environment, mounts, devices,
//!   capabilities, filters, limits, namespaces.
//! - **Never:** changes anything on the host.
//! - **Runs in:** the daemon; the plans travel to the monitors as JSON (unknown fields are ignored and new ones have
//!   defaults, because old monitors meet new daemons).
//! - **Start reading at:** [`container()`].

mod capability;
mod container;
mod device;
mod exec;
mod host;
mod mount;
mod oci;
mod pod;
mod process;
mod sysctl;
#[cfg(test)]
mod tests;
mod user;

pub use capability::{Capabilities, CapabilitySet};
pub use container::{
    Confinement, ContainerPlan, ContainerRequest, ImageDefaults, ImageMount, PidNamespace, RootfsPlan, container,
};
pub use device::DeviceNode;
pub use exec::{ExecPlan, exec};
pub use host::HostFacts;
pub(super) use host::kernel_version;
pub use mount::{Bind, IdMap, MountFlags, MountPlan, MountSource, ReadOnly};
pub use oci::{OCI_VERSION, container_spec, pod_spec};
pub use pod::{PodPlan, UserMaps, pod};
pub(super) use process::PATH;
pub use process::ProcessPlan;
pub use user::{GroupPlan, UserPlan};
