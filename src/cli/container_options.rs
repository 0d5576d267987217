//! The flags that describe a container, and the CRI's configuration that they make.

use std::{env, path::Path};

use clap::Args;

use super::resource_options::ResourceOptions;
use crate::{
    types::{Size, container::LAYER_LIMIT, size::InvalidSize},
    wire::{
        Capability, ContainerConfig, ContainerMetadata, Device, ImageSpec, Int64Value, KeyValue, LinuxContainerConfig,
        LinuxContainerSecurityContext, Mount, MountPropagation, NamespaceOption, SecurityProfile, Signal,
        security_profile::ProfileType,
    },
};

/// Paths below /proc and /sys that tell about the host or change it: hidden from containers that are not privileged,
/// as Kubernetes and docker do it.
const MASKED_PATHS: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];
/// Paths that such containers may only read.
const READONLY_PATHS: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Flags of `run`.
#[derive(Debug, Default, Args)]
pub(super) struct ContainerOptions {
    /// Environment variable; without a value, the present one is passed on
    #[arg(short = 'e', long = "env", value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Mount a directory or file: HOST_PATH:PATH[:ro|rro|rshared|rslave,…]
    #[arg(short = 'v', long = "volume", value_name = "MOUNT", value_parser = parse_mount)]
    mounts: Vec<Mount>,
    /// Host device: HOST_PATH[:PATH[:rwm]]
    #[arg(long = "device", value_name = "DEVICE", value_parser = parse_device)]
    devices: Vec<Device>,
    #[command(flatten)]
    resources: ResourceOptions,
    /// Working directory
    #[arg(short = 'w', long, value_name = "PATH")]
    workdir: Option<String>,
    /// User, and group by number: USER[:GROUP]
    #[arg(short = 'u', long, value_name = "USER", value_parser = parse_user)]
    user: Option<User>,
    /// Further group, by number
    #[arg(long = "group-add", value_name = "GROUP")]
    groups: Vec<i64>,
    /// Program to run instead of the image's
    #[arg(long, value_name = "PROGRAM")]
    entrypoint: Option<String>,
    /// All capabilities and devices, no seccomp filter, nothing hidden
    #[arg(long)]
    privileged: bool,
    /// Most that it may write into its own file system: size=SIZE
    #[arg(long, value_name = "OPTION", value_parser = parse_storage_option)]
    storage_opt: Option<Size>,
    /// Make the container's own file system read-only
    #[arg(long)]
    read_only: bool,
    /// Capability to add, or ALL
    #[arg(long = "cap-add", value_name = "NAME", value_parser = parse_capability)]
    add_capabilities: Vec<String>,
    /// Capability to drop, or ALL
    #[arg(long = "cap-drop", value_name = "NAME", value_parser = parse_capability)]
    drop_capabilities: Vec<String>,
    /// Processes cannot gain privileges by executing programs
    #[arg(long)]
    no_new_privileges: bool,
    /// Seccomp filter: default, unconfined, or a profile's absolute path
    #[arg(long, value_name = "PROFILE", default_value = "default", value_parser = parse_profile)]
    seccomp: SecurityProfile,
    /// AppArmor profile: default, unconfined, or a loaded profile's name
    #[arg(long, value_name = "PROFILE", value_parser = parse_profile)]
    apparmor: Option<SecurityProfile>,
    /// Signal that asks it to stop, like SIGQUIT
    #[arg(long, value_name = "SIGNAL", value_parser = parse_signal)]
    stop_signal: Option<Signal>,
}

/// A user as the CRI wants it: by number or by name, and a group by number.
#[derive(Debug, Clone, PartialEq, Eq)]
struct User {
    uid: Option<i64>,
    name: String,
    gid: Option<i64>,
}

impl ContainerOptions {
    /// The configuration of a container called `name` in a pod with these namespaces.
    pub(super) fn config(
        self,
        name: &str,
        image: &str,
        command: Vec<String>,
        namespaces: NamespaceOption,
    ) -> ContainerConfig {
        let linux = LinuxContainerConfig {
            resources: Some(self.resources.resources()),
            security_context: Some(self.security(namespaces)),
        };
        ContainerConfig {
            metadata: Some(ContainerMetadata { name: name.to_owned(), attempt: 0 }),
            image: Some(ImageSpec {
                image: image.to_owned(),
                user_specified_image: image.to_owned(),
                ..Default::default()
            }),
            command: self.entrypoint.into_iter().collect(),
            args: command,
            working_dir: self.workdir.unwrap_or_default(),
            envs: environment(&self.env, |name| env::var(name).ok()),
            mounts: self.mounts,
            devices: self.devices,
            annotations: self.storage_opt.map(|size| (LAYER_LIMIT.to_owned(), size.to_string())).into_iter().collect(),
            log_path: format!("{name}.log"),
            linux: Some(linux),
            stop_signal: self.stop_signal.unwrap_or(Signal::RuntimeDefault).into(),
            ..Default::default()
        }
    }

    fn security(&self, namespaces: NamespaceOption) -> LinuxContainerSecurityContext {
        let paths = |list: &[&str]| {
            let list = if self.privileged { &[] } else { list };
            list.iter().map(|&path| path.to_owned()).collect()
        };
        let number = |value| Int64Value { value };
        LinuxContainerSecurityContext {
            capabilities: Some(Capability {
                add_capabilities: self.add_capabilities.clone(),
                drop_capabilities: self.drop_capabilities.clone(),
                ..Default::default()
            }),
            privileged: self.privileged,
            namespace_options: Some(namespaces),
            run_as_user: self.user.as_ref().and_then(|user| user.uid).map(number),
            run_as_username: self.user.as_ref().map(|user| user.name.clone()).unwrap_or_default(),
            run_as_group: self.user.as_ref().and_then(|user| user.gid).map(number),
            readonly_rootfs: self.read_only,
            supplemental_groups: self.groups.clone(),
            no_new_privs: self.no_new_privileges,
            masked_paths: paths(MASKED_PATHS),
            readonly_paths: paths(READONLY_PATHS),
            seccomp: Some(self.seccomp.clone()),
            apparmor: self.apparmor.clone(),
            ..Default::default()
        }
    }
}

/// `NAME=VALUE` as it is; a `NAME` alone takes its value from `present`, and is left out when it has none.
fn environment(given: &[String], present: impl Fn(&str) -> Option<String>) -> Vec<KeyValue> {
    let pair = |given: &String| match given.split_once('=') {
        Some((key, value)) => Some(KeyValue { key: key.to_owned(), value: value.to_owned() }),
        None => present(given).map(|value| KeyValue { key: given.clone(), value }),
    };
    given.iter().filter_map(pair).collect()
}

/// Reads `HOST_PATH:PATH[:OPTIONS]`. A relative host path is relative to the present directory.
fn parse_mount(text: &str) -> Result<Mount, String> {
    let mut parts = text.split(':');
    let (Some(host), Some(container), options, None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err("must be HOST_PATH:PATH[:OPTIONS]".to_owned());
    };
    if host.is_empty() || !container.starts_with('/') {
        return Err("needs a host path and an absolute path in the container".to_owned());
    }
    let host = std::path::absolute(Path::new(host)).map_err(|error| format!("{host}: {error}"))?;
    let mut mount = Mount {
        host_path: host.into_os_string().into_string().map_err(|_| "the host path is not UTF-8".to_owned())?,
        container_path: container.to_owned(),
        ..Default::default()
    };
    for option in options.unwrap_or("rw").split(',') {
        match option {
            "rw" => mount.readonly = false,
            "ro" => mount.readonly = true,
            "rro" => (mount.readonly, mount.recursive_read_only) = (true, true),
            "private" | "rprivate" => mount.propagation = MountPropagation::PropagationPrivate.into(),
            "slave" | "rslave" => mount.propagation = MountPropagation::PropagationHostToContainer.into(),
            "shared" | "rshared" => mount.propagation = MountPropagation::PropagationBidirectional.into(),
            "z" | "Z" => mount.selinux_relabel = true,
            _ => return Err(format!("unknown mount option {option:?}")),
        }
    }
    Ok(mount)
}

/// Reads `HOST_PATH[:PATH[:PERMISSIONS]]`.
fn parse_device(text: &str) -> Result<Device, String> {
    let mut parts = text.split(':');
    let host_path = parts.next().unwrap_or_default();
    let container_path = parts.next().unwrap_or(host_path);
    let permissions = parts.next().unwrap_or("rwm");
    let known = permissions.chars().all(|c| "rwm".contains(c));
    if !host_path.starts_with('/') || !container_path.starts_with('/') || !known || parts.next().is_some() {
        return Err("must be HOST_PATH[:PATH[:rwm]]".to_owned());
    }
    Ok(Device {
        container_path: container_path.to_owned(),
        host_path: host_path.to_owned(),
        permissions: permissions.to_owned(),
    })
}

/// Reads `size=SIZE`, docker's one option of a container's storage.
fn parse_storage_option(text: &str) -> Result<Size, String> {
    let size = text.strip_prefix("size=").ok_or_else(|| "must be size=SIZE".to_owned())?;
    size.parse().map_err(|error: InvalidSize| error.to_string())
}

fn parse_user(text: &str) -> Result<User, String> {
    let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
    if user.is_empty() {
        return Err("must be USER[:GROUP]".to_owned());
    }
    let gid = group.map(|group| group.parse().map_err(|_| "the group must be a number".to_owned())).transpose()?;
    let uid = user.parse().ok();
    Ok(User { uid, name: if uid.is_some() { String::new() } else { user.to_owned() }, gid })
}

/// The name without its `CAP_`, in capitals, as the CRI wants it.
fn parse_capability(text: &str) -> Result<String, String> {
    let name = text.to_ascii_uppercase();
    Ok(name.strip_prefix("CAP_").unwrap_or(&name).to_owned())
}

fn parse_profile(text: &str) -> Result<SecurityProfile, String> {
    let (profile, name) = match text {
        "" => return Err("must be default, unconfined, or a profile".to_owned()),
        "default" => (ProfileType::RuntimeDefault, ""),
        "unconfined" => (ProfileType::Unconfined, ""),
        name => (ProfileType::Localhost, name),
    };
    Ok(SecurityProfile { profile_type: profile.into(), localhost_ref: name.to_owned() })
}

/// Reads `SIGQUIT`, `quit`, `SIGRTMIN+3`.
fn parse_signal(text: &str) -> Result<Signal, String> {
    let name = text.to_ascii_uppercase().replace('+', "PLUS").replace('-', "MINUS");
    let name = if name.starts_with("SIG") { name } else { format!("SIG{name}") };
    Signal::from_str_name(&name).ok_or_else(|| format!("{text:?} is not a signal's name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_read_with_their_options() {
        let mount = parse_mount("/data:/srv:ro,rslave").expect("parses");
        assert_eq!((mount.host_path.as_str(), mount.container_path.as_str()), ("/data", "/srv"));
        assert!(mount.readonly && !mount.recursive_read_only);
        assert_eq!(mount.propagation(), MountPropagation::PropagationHostToContainer);
        assert!(parse_mount("x:/srv").expect("relative").host_path.starts_with('/'));
        for bad in ["", "/data", ":/srv", "/data:srv", "/data:/srv:bad", "/a:/b:ro:x"] {
            assert!(parse_mount(bad).is_err(), "{bad:?} was taken for a mount");
        }
    }

    #[test]
    fn devices_default_to_their_own_path_and_all_permissions() {
        let device = parse_device("/dev/null").expect("parses");
        assert_eq!((device.container_path.as_str(), device.permissions.as_str()), ("/dev/null", "rwm"));
        assert_eq!(parse_device("/dev/null:/dev/n:r").expect("parses").container_path, "/dev/n");
        for bad in ["", "null", "/dev/null:n", "/dev/null:/dev/n:x", "/a:/b:r:w"] {
            assert!(parse_device(bad).is_err(), "{bad:?} was taken for a device");
        }
    }

    #[test]
    fn users_are_numbers_or_names() {
        let user = |text| parse_user(text).expect(text);
        assert_eq!(user("1000:50"), User { uid: Some(1000), name: String::new(), gid: Some(50) });
        assert_eq!(user("app"), User { uid: None, name: "app".into(), gid: None });
        assert!(parse_user("app:staff").is_err() && parse_user("").is_err());
    }

    #[test]
    fn signals_capabilities_and_cpus_are_read() {
        assert_eq!(parse_signal("quit"), Ok(Signal::Sigquit));
        assert_eq!(parse_signal("SIGRTMIN+3"), Ok(Signal::Sigrtminplus3));
        assert!(parse_signal("9").is_err());
        assert_eq!(parse_capability("cap_net_admin"), Ok("NET_ADMIN".to_owned()));
    }

    #[test]
    fn the_size_of_its_storage_is_an_annotation() {
        let options = ContainerOptions { storage_opt: parse_storage_option("size=10G").ok(), ..Default::default() };
        let config = options.config("web", "busybox", vec![], NamespaceOption::default());
        assert_eq!(config.annotations[LAYER_LIMIT], "10GiB");
        for bad in ["", "10G", "size", "size=", "size=x", "Size=1g"] {
            assert!(parse_storage_option(bad).is_err(), "{bad:?} was taken for an option");
        }
    }

    #[test]
    fn the_environment_is_passed_on_by_name() {
        let given = ["A=1=2", "HOME", "UNSET"].map(str::to_owned);
        let envs = environment(&given, |name| (name == "HOME").then(|| "/root".to_owned()));
        let envs: Vec<_> = envs.iter().map(|pair| (pair.key.as_str(), pair.value.as_str())).collect();
        assert_eq!(envs, [("A", "1=2"), ("HOME", "/root")]);
    }

    #[test]
    fn containers_are_confined_unless_privileged() {
        let security = |privileged| {
            let options = ContainerOptions { privileged, ..Default::default() };
            let config = options.config("web", "busybox", vec![], NamespaceOption::default());
            config.linux.and_then(|linux| linux.security_context).expect("security context")
        };
        assert_eq!(security(false).seccomp.expect("seccomp").profile_type(), ProfileType::RuntimeDefault);
        assert!(security(false).masked_paths.contains(&"/proc/kcore".to_owned()));
        assert!(security(true).masked_paths.is_empty());
    }
}
