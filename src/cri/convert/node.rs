//! What the runtime tells of itself and the node.

use crate::{runtime::cgroup, wire};

/// Version of the CRI's protocol. kubelet gives up on any other word.
const PROTOCOL_VERSION: &str = "0.1.0";

/// First kernel with `mount_setattr(2)`, which makes whole trees of mounts read-only.
const MOUNT_SETATTR: (u32, u32) = (5, 12);
/// First kernel that takes idmapped layers below an overlay, so that images need not be copied for user namespaces.
const IDMAPPED_OVERLAY_LAYERS: (u32, u32) = (5, 19);

/// The names and versions by which callers know this runtime.
pub(crate) fn version_to_wire() -> wire::VersionResponse {
    wire::VersionResponse {
        version: PROTOCOL_VERSION.to_owned(),
        runtime_name: env!("CARGO_PKG_NAME").to_owned(),
        runtime_version: env!("CARGO_PKG_VERSION").to_owned(),
        runtime_api_version: "v1".to_owned(),
    }
}

/// The two conditions that a node must meet. A runtime that answers at all is ready.
pub(crate) fn conditions_to_wire(network: Result<(), String>) -> wire::RuntimeStatus {
    let condition = |kind: &str, problem: Option<String>, reason: &str| wire::RuntimeCondition {
        r#type: kind.to_owned(),
        status: problem.is_none(),
        reason: if problem.is_some() { reason.to_owned() } else { String::new() },
        message: problem.unwrap_or_default(),
    };
    wire::RuntimeStatus {
        conditions: vec![
            condition("RuntimeReady", None, ""),
            condition("NetworkReady", network.err(), "NetworkNotReady"),
        ],
    }
}

/// The handlers and what they can do: the one that callers name by an empty string and those that the node configures.
/// They only differ in name.
pub(crate) fn handlers_to_wire(names: &[String], kernel: (u32, u32)) -> Vec<wire::RuntimeHandler> {
    let features = wire::RuntimeHandlerFeatures {
        recursive_read_only_mounts: kernel >= MOUNT_SETATTR,
        user_namespaces: kernel >= IDMAPPED_OVERLAY_LAYERS,
    };
    let names = std::iter::once("").chain(names.iter().map(String::as_str));
    names.map(|name| wire::RuntimeHandler { name: name.to_owned(), features: Some(features) }).collect()
}

/// The cgroup driver, said explicitly: the enumeration's zero, and so silence, would mean systemd.
pub(crate) fn cgroup_driver_to_wire(driver: cgroup::Driver) -> wire::RuntimeConfigResponse {
    let cgroup_driver = match driver {
        cgroup::Driver::Cgroupfs => wire::CgroupDriver::Cgroupfs,
        cgroup::Driver::Systemd => wire::CgroupDriver::Systemd,
    } as i32;
    wire::RuntimeConfigResponse { linux: Some(wire::LinuxRuntimeConfiguration { cgroup_driver }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubelet_takes_the_version() {
        let version = version_to_wire();
        assert_eq!((version.version.as_str(), version.runtime_api_version.as_str()), ("0.1.0", "v1"));
        assert_eq!(version.runtime_version.split('.').count(), 3, "a semantic version");
        assert!(!version.runtime_name.is_empty());
    }

    #[test]
    fn both_conditions_and_the_nameless_handler_are_always_told() {
        let status = conditions_to_wire(Err("no subnet".to_owned()));
        let told: Vec<_> =
            status.conditions.iter().map(|c| (c.r#type.as_str(), c.status, c.message.as_str())).collect();
        assert_eq!(told, [("RuntimeReady", true, ""), ("NetworkReady", false, "no subnet")]);
        let handlers = handlers_to_wire(&["berth".to_owned()], (5, 15));
        assert_eq!(handlers.iter().map(|handler| handler.name.as_str()).collect::<Vec<_>>(), ["", "berth"]);
        let features = handlers[0].features.expect("told");
        assert!(features.recursive_read_only_mounts && !features.user_namespaces);
    }
}
