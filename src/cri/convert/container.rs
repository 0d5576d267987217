//! Containers.

use super::{
    check::{self, Invalid, arguments, each, enumeration, name, optional_path, relative_path, required},
    image, mount, resources, security, signal,
};
use crate::{
    engine::{ContainerFilter, ContainerState, ContainerView, User},
    types::{ContainerConfig, ContainerMetadata, DeviceRequest, ImageSpec},
    wire,
};

/// A container that is asked for.
pub(crate) fn config_from_wire(config: wire::ContainerConfig) -> Result<ContainerConfig, Invalid> {
    let linux = config.linux.unwrap_or_default();
    let image = image::spec_from_wire(required("image", config.image)?).map_err(|e| e.within("image"))?;
    let security = security::container_from_wire(linux.security_context.unwrap_or_default())
        .map_err(|e| e.within("linux.security_context"))?;
    let resources =
        resources::from_wire(linux.resources.unwrap_or_default()).map_err(|e| e.within("linux.resources"))?;
    Ok(ContainerConfig {
        metadata: metadata_from_wire(required("metadata", config.metadata)?).map_err(|e| e.within("metadata"))?,
        image,
        command: arguments("command", config.command)?,
        args: arguments("args", config.args)?,
        working_dir: optional_path("working_dir", config.working_dir)?,
        envs: each("envs", config.envs, environment_from_wire)?,
        mounts: each("mounts", config.mounts, mount::from_wire)?,
        devices: each("devices", config.devices, device_from_wire)?,
        cdi_devices: each("CDI_devices", config.cdi_devices, |device| name("name", device.name))?,
        labels: check::map("labels", config.labels)?,
        annotations: check::map("annotations", config.annotations)?,
        log_path: relative_path("log_path", config.log_path)?,
        stdin: config.stdin,
        stdin_once: config.stdin_once,
        tty: config.tty,
        resources,
        security,
        stop_signal: signal::from_wire(config.stop_signal)?,
    })
}

fn metadata_from_wire(metadata: wire::ContainerMetadata) -> Result<ContainerMetadata, Invalid> {
    Ok(ContainerMetadata { name: name("name", metadata.name)?, attempt: metadata.attempt })
}

fn metadata_to_wire(metadata: &ContainerMetadata) -> wire::ContainerMetadata {
    wire::ContainerMetadata { name: metadata.name.clone(), attempt: metadata.attempt }
}

fn environment_from_wire(variable: wire::KeyValue) -> Result<(String, String), Invalid> {
    let key = name("key", variable.key)?;
    if key.contains('=') {
        return Err(Invalid::new("key", format!("contains \"=\": {}", check::shown(&key))));
    }
    let mut value = arguments("value", vec![variable.value])?;
    Ok((key, value.pop().unwrap_or_default()))
}

fn device_from_wire(device: wire::Device) -> Result<DeviceRequest, Invalid> {
    if !device.permissions.chars().all(|c| "rwm".contains(c)) {
        let problem = format!("must be some of r, w and m, not {}", check::shown(&device.permissions));
        return Err(Invalid::new("permissions", problem));
    }
    Ok(DeviceRequest {
        container_path: check::absolute_path("container_path", device.container_path)?,
        host_path: check::absolute_path("host_path", device.host_path)?,
        permissions: device.permissions,
    })
}

/// Which containers a list is to show.
pub(crate) fn filter_from_wire(filter: Option<wire::ContainerFilter>) -> Result<ContainerFilter, Invalid> {
    let filter = filter.unwrap_or_default();
    let state = filter.state.map(|value| enumeration("filter.state", value.state)).transpose()?;
    Ok(ContainerFilter {
        id: Some(filter.id).filter(|id| !id.is_empty()),
        pod_id: Some(filter.pod_sandbox_id).filter(|id| !id.is_empty()),
        state: state.map(|state| match state {
            wire::ContainerState::ContainerCreated => ContainerState::Created,
            wire::ContainerState::ContainerRunning => ContainerState::Running,
            wire::ContainerState::ContainerExited => ContainerState::Exited,
            wire::ContainerState::ContainerUnknown => ContainerState::Unknown,
        }),
        labels: filter.label_selector,
    })
}

/// One container of a list.
pub(crate) fn item_to_wire(container: &ContainerView) -> wire::Container {
    wire::Container {
        id: container.id.to_string(),
        pod_sandbox_id: container.pod_id.to_string(),
        metadata: Some(metadata_to_wire(&container.config.metadata)),
        image: Some(image::spec_to_wire(&container.config.image)),
        image_ref: container.image_ref.clone(),
        state: state_to_wire(container.state),
        created_at: container.created_at.0,
        labels: container.config.labels.clone(),
        annotations: container.config.annotations.clone(),
        image_id: container.image_id.to_string(),
    }
}

/// All that a status tells of a container.
pub(crate) fn status_to_wire(container: &ContainerView) -> wire::ContainerStatus {
    let config = &container.config;
    let exit = container.exit.as_ref();
    let image = ImageSpec { image: container.image_name.clone(), ..config.image.clone() };
    wire::ContainerStatus {
        id: container.id.to_string(),
        metadata: Some(metadata_to_wire(&config.metadata)),
        state: state_to_wire(container.state),
        created_at: container.created_at.0,
        started_at: container.started_at.map_or(0, |at| at.0),
        finished_at: exit.map_or(0, |exit| exit.at.0),
        exit_code: exit.map_or(0, |exit| exit.code),
        image: Some(image::spec_to_wire(&image)),
        image_ref: container.image_ref.clone(),
        reason: exit.map_or("", |exit| exit.reason.as_str()).to_owned(),
        message: exit.map_or("", |exit| exit.message.as_str()).to_owned(),
        labels: config.labels.clone(),
        annotations: config.annotations.clone(),
        mounts: config.mounts.iter().map(mount::to_wire).collect(),
        log_path: container.log_path.as_ref().map_or_else(String::new, |path| path.to_string_lossy().into_owned()),
        resources: Some(wire::ContainerResources {
            linux: Some(resources::to_wire(&container.resources)),
            windows: None,
        }),
        image_id: container.image_id.to_string(),
        user: container.user.as_ref().map(user_to_wire),
        stop_signal: signal::to_wire(container.stop_signal) as i32,
    }
}

/// What identifies a container in statistics.
pub(super) fn attributes_to_wire(container: &ContainerView) -> wire::ContainerAttributes {
    wire::ContainerAttributes {
        id: container.id.to_string(),
        metadata: Some(metadata_to_wire(&container.config.metadata)),
        labels: container.config.labels.clone(),
        annotations: container.config.annotations.clone(),
    }
}

/// What a verbose status adds for people who debug, under the names that containerd gave it; `plan` is what the executor
/// makes of it, `spec` the same in the form that tools know.
pub(crate) fn details(
    container: &ContainerView,
    plan: serde_json::Value,
    spec: serde_json::Value,
) -> serde_json::Value {
    serde_json::json!({
        "sandboxID": container.pod_id,
        "pid": container.pid.unwrap_or_default(),
        "cgroupPath": container.cgroup,
        "config": *container.config,
        "runtimeSpec": spec,
        "plan": plan,
    })
}

fn user_to_wire(user: &User) -> wire::ContainerUser {
    wire::ContainerUser {
        linux: Some(wire::LinuxContainerUser {
            uid: user.uid.into(),
            gid: user.gid.into(),
            supplemental_groups: user.groups.iter().copied().map(i64::from).collect(),
        }),
    }
}

fn state_to_wire(state: ContainerState) -> i32 {
    let state = match state {
        ContainerState::Created => wire::ContainerState::ContainerCreated,
        ContainerState::Running => wire::ContainerState::ContainerRunning,
        ContainerState::Exited => wire::ContainerState::ContainerExited,
        ContainerState::Unknown => wire::ContainerState::ContainerUnknown,
    };
    state as i32
}

#[cfg(test)]
mod tests;
