//! What plugins can be told of a pod: `CNI_ARGS`, and `runtimeConfig` for those that declare a capability.

use serde_json::{Map, Value, json};

use super::{bandwidth, error::Error};
use crate::types::{Id, PodConfig, PodMetadata, PortMapping, Protocol};

/// `CNI_ARGS`: who the pod is to Kubernetes. Plugins that do not know a key are to pass over it.
///
/// # Errors
/// When a name has a character in it that would make another argument of it.
pub(super) fn arguments(pod: &Id, metadata: &PodMetadata) -> Result<String, Error> {
    let PodMetadata { name, namespace, uid, .. } = metadata;
    for (what, value) in [("pod namespace", namespace), ("pod name", name), ("pod uid", uid)] {
        if value.contains([';', '=']) {
            let reason = "cni plugins cannot be told a name with ';' or '=' in it".to_owned();
            return Err(Error::Request { what, value: value.clone(), reason });
        }
    }
    Ok(format!(
        "IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={name};K8S_POD_INFRA_CONTAINER_ID={pod};\
         K8S_POD_UID={uid}"
    ))
}

/// Everything that plugins may want to know, by capability; a plugin is told only what it declares.
///
/// # Errors
/// When an annotation about bandwidth cannot be meant.
pub(super) fn capabilities(config: &PodConfig) -> Result<Map<String, Value>, Error> {
    let ports: Vec<Value> = config.ports.iter().filter(|port| port.host_port != 0).map(port).collect();
    let known = [
        ("portMappings", (!ports.is_empty()).then(|| ports.into())),
        ("bandwidth", bandwidth::limits(&config.annotations)?),
        (
            "dns",
            config
                .dns
                .as_ref()
                .map(|dns| json!({ "servers": dns.servers, "searches": dns.searches, "options": dns.options })),
        ),
        ("cgroupPath", (!config.cgroup_parent.is_empty()).then(|| config.cgroup_parent.clone().into())),
        ("io.kubernetes.cri.pod-annotations", (!config.annotations.is_empty()).then(|| json!(config.annotations))),
    ];
    Ok(known.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
}

fn port(port: &PortMapping) -> Value {
    let protocol = match port.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    };
    let address = port.host_ip.map(|ip| ip.to_string()).unwrap_or_default();
    json!({ "hostPort": port.host_port, "containerPort": port.container_port, "protocol": protocol, "hostIP": address })
}
