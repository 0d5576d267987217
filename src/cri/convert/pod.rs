//! Pods, which the CRI calls sandboxes.

use std::net::IpAddr;

use super::{
    check::{self, Invalid, each, enumeration, name, optional_path, required, shown, word},
    resources, security,
};
use crate::{
    engine::{PodFilter, PodState, PodView},
    types::{DnsConfig, PodConfig, PodMetadata, PortMapping, Protocol, Resources},
    wire,
};

/// A pod that is asked for.
pub(crate) fn from_wire(request: wire::RunPodSandboxRequest) -> Result<PodConfig, Invalid> {
    let config = config_from_wire(required("config", request.config)?).map_err(|e| e.within("config"))?;
    Ok(PodConfig { runtime_handler: word("runtime_handler", request.runtime_handler)?, ..config })
}

fn config_from_wire(config: wire::PodSandboxConfig) -> Result<PodConfig, Invalid> {
    let linux = config.linux.unwrap_or_default();
    let (namespaces, security) = security::pod_from_wire(linux.security_context.unwrap_or_default())
        .map_err(|e| e.within("linux.security_context"))?;
    Ok(PodConfig {
        metadata: metadata_from_wire(required("metadata", config.metadata)?).map_err(|e| e.within("metadata"))?,
        hostname: word("hostname", config.hostname)?,
        log_directory: optional_path("log_directory", config.log_directory)?,
        dns: config.dns_config.map(dns_from_wire).transpose().map_err(|e| e.within("dns_config"))?,
        ports: each("port_mappings", config.port_mappings, port_from_wire)?,
        labels: check::map("labels", config.labels)?,
        annotations: check::map("annotations", config.annotations)?,
        cgroup_parent: cgroup_from_wire(linux.cgroup_parent)?,
        namespaces,
        security,
        sysctls: check::map("linux.sysctls", linux.sysctls)?,
        overhead: limits("linux.overhead", linux.overhead)?,
        resources: limits("linux.resources", linux.resources)?,
        runtime_handler: String::new(),
    })
}

fn limits(field: &str, limits: Option<wire::LinuxContainerResources>) -> Result<Option<Resources>, Invalid> {
    limits.map(resources::from_wire).transpose().map_err(|e| e.within(field))
}

fn metadata_from_wire(metadata: wire::PodSandboxMetadata) -> Result<PodMetadata, Invalid> {
    Ok(PodMetadata {
        name: name("name", metadata.name)?,
        uid: name("uid", metadata.uid)?,
        namespace: name("namespace", metadata.namespace)?,
        attempt: metadata.attempt,
    })
}

fn metadata_to_wire(metadata: &PodMetadata) -> wire::PodSandboxMetadata {
    wire::PodSandboxMetadata {
        name: metadata.name.clone(),
        uid: metadata.uid.clone(),
        namespace: metadata.namespace.clone(),
        attempt: metadata.attempt,
    }
}

/// What goes into `resolv.conf`, word by word: a blank or a line's end in one would smuggle in other settings.
fn dns_from_wire(dns: wire::DnsConfig) -> Result<DnsConfig, Invalid> {
    let words = |field: &str, words: Vec<String>| {
        each(field, words, |word: String| {
            if word.contains(char::is_whitespace) {
                return Err(Invalid::new("", format!("contains white space: {}", shown(&word))));
            }
            name("", word)
        })
    };
    Ok(DnsConfig {
        servers: each("servers", words("servers", dns.servers)?, name_server)?,
        searches: words("searches", dns.searches)?,
        options: words("options", dns.options)?,
    })
}

/// An address, for IPv6 also with a zone (`fe80::1%eth0`).
fn name_server(server: String) -> Result<String, Invalid> {
    let address = server.split('%').next().unwrap_or_default();
    match address.parse::<IpAddr>() {
        Ok(_) => Ok(server),
        Err(_) => Err(Invalid::new("", format!("is no IP address: {}", shown(&server)))),
    }
}

fn port_from_wire(port: wire::PortMapping) -> Result<PortMapping, Invalid> {
    let host_ip = match port.host_ip.as_str() {
        "" => None,
        text => Some(text.parse::<IpAddr>()),
    };
    Ok(PortMapping {
        protocol: match enumeration("protocol", port.protocol)? {
            wire::Protocol::Tcp => Protocol::Tcp,
            wire::Protocol::Udp => Protocol::Udp,
            wire::Protocol::Sctp => Protocol::Sctp,
        },
        container_port: port_number("container_port", port.container_port, 1)?,
        host_port: port_number("host_port", port.host_port, 0)?,
        host_ip: host_ip
            .transpose()
            .map_err(|_| Invalid::new("host_ip", format!("is no IP address: {}", shown(&port.host_ip))))?,
    })
}

/// A port number; `least` is 0 where 0 means "none".
pub(crate) fn port_number(field: &str, number: i32, least: u16) -> Result<u16, Invalid> {
    u16::try_from(number)
        .ok()
        .filter(|number| *number >= least)
        .ok_or_else(|| Invalid::new(field, format!("must be between {least} and 65535, not {number}")))
}

/// A path or the name of a slice. Which of them it is to be, and its form, is the executor's to judge.
fn cgroup_from_wire(parent: String) -> Result<String, Invalid> {
    if parent.split('/').any(|part| part == "..") {
        return Err(Invalid::new("linux.cgroup_parent", "must not contain \"..\""));
    }
    check::text("linux.cgroup_parent", parent, 4095)
}

/// Which pods a list is to show.
pub(crate) fn filter_from_wire(filter: Option<wire::PodSandboxFilter>) -> Result<PodFilter, Invalid> {
    let filter = filter.unwrap_or_default();
    let state = filter.state.map(|value| enumeration("filter.state", value.state)).transpose()?;
    Ok(PodFilter {
        id: Some(filter.id).filter(|id| !id.is_empty()),
        state: state.map(|state| match state {
            wire::PodSandboxState::SandboxReady => PodState::Ready,
            wire::PodSandboxState::SandboxNotready => PodState::NotReady,
        }),
        labels: filter.label_selector,
    })
}

/// One pod of a list.
pub(crate) fn item_to_wire(pod: &PodView) -> wire::PodSandbox {
    wire::PodSandbox {
        id: pod.id.to_string(),
        metadata: Some(metadata_to_wire(&pod.config.metadata)),
        state: state_to_wire(pod.state),
        created_at: pod.created_at.0,
        labels: pod.config.labels.clone(),
        annotations: pod.config.annotations.clone(),
        runtime_handler: pod.config.runtime_handler.clone(),
    }
}

/// All that a status tells of a pod.
pub(crate) fn status_to_wire(pod: &PodView) -> wire::PodSandboxStatus {
    let mut ips = pod.ips.iter().map(IpAddr::to_string);
    let ip = ips.next().unwrap_or_default();
    wire::PodSandboxStatus {
        id: pod.id.to_string(),
        metadata: Some(metadata_to_wire(&pod.config.metadata)),
        state: state_to_wire(pod.state),
        created_at: pod.created_at.0,
        network: Some(wire::PodSandboxNetworkStatus { ip, additional_ips: ips.map(|ip| wire::PodIp { ip }).collect() }),
        linux: Some(wire::LinuxPodSandboxStatus {
            namespaces: Some(wire::Namespace { options: Some(security::namespaces_to_wire(&pod.config.namespaces)) }),
        }),
        labels: pod.config.labels.clone(),
        annotations: pod.config.annotations.clone(),
        runtime_handler: pod.config.runtime_handler.clone(),
    }
}

/// What identifies a pod in statistics.
pub(super) fn attributes_to_wire(pod: &PodView) -> wire::PodSandboxAttributes {
    wire::PodSandboxAttributes {
        id: pod.id.to_string(),
        metadata: Some(metadata_to_wire(&pod.config.metadata)),
        labels: pod.config.labels.clone(),
        annotations: pod.config.annotations.clone(),
    }
}

/// What a verbose status adds for people who debug, under the names that containerd gave it.
pub(crate) fn details(pod: &PodView, spec: serde_json::Value) -> serde_json::Value {
    serde_json::json!({
        "pid": pod.monitor_pid.unwrap_or_default(),
        "networkNamespace": pod.netns,
        "cgroupPath": pod.cgroup,
        "runtimeHandler": pod.config.runtime_handler,
        "config": *pod.config,
        "runtimeSpec": spec,
    })
}

fn state_to_wire(state: PodState) -> i32 {
    let state = match state {
        PodState::Ready => wire::PodSandboxState::SandboxReady,
        PodState::NotReady => wire::PodSandboxState::SandboxNotready,
    };
    state as i32
}

#[cfg(test)]
mod tests;
