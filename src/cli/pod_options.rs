//! The flags that describe a pod, and the CRI's configuration that they make.

use std::{collections::BTreeMap, fs, net::IpAddr, path::PathBuf};

use clap::Args;

use super::error::Error;
use crate::wire::{
    DnsConfig, LinuxPodSandboxConfig, LinuxSandboxSecurityContext, NamespaceMode, NamespaceOption, PodSandboxConfig,
    PodSandboxMetadata, PortMapping, Protocol, SecurityProfile,
};

/// Directory of the log files of pods that were made here: one directory a pod, named after its uid.
pub(super) const DEFAULT_LOG_ROOT: &str = "/var/log/berth";

/// Number of hexadecimal digits of a uid that was made here.
const UID_LEN: usize = 32;

/// Where the log files of pods that were made here are.
#[derive(Debug, Clone, Args)]
pub(super) struct LogRoot {
    /// Directory for the log files of pods that are made by this command
    #[arg(long, env = "BERTH_LOG_ROOT", default_value = DEFAULT_LOG_ROOT, value_name = "DIRECTORY")]
    log_root: PathBuf,
}

impl LogRoot {
    /// The log directory of a pod with this uid, if its uid was made here. Only such a directory is ever removed.
    pub(super) fn of_pod(&self, uid: &str) -> Option<PathBuf> {
        let ours = uid.len() == UID_LEN && uid.bytes().all(|byte| byte.is_ascii_hexdigit());
        ours.then(|| self.log_root.join(uid))
    }

    /// Removes the log directories of all pods whose uids were made here.
    pub(super) fn remove_all(&self) -> Result<(), Error> {
        let Ok(entries) = fs::read_dir(&self.log_root) else { return Ok(()) };
        let names = entries.flatten().map(|entry| entry.file_name());
        for directory in names.filter_map(|name| self.of_pod(name.to_str()?)) {
            fs::remove_dir_all(&directory).map_err(|source| Error::Remove { path: directory, source })?;
        }
        Ok(())
    }
}

/// Flags of `pod run` and `run`.
#[derive(Debug, Default, Args)]
pub(super) struct PodOptions {
    /// Namespace, in Kubernetes' sense [default: default]
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
    /// Host name [default: the pod's name]
    #[arg(long, value_name = "NAME")]
    hostname: Option<String>,
    /// Publish a port: [ADDRESS:]HOST_PORT:POD_PORT[/tcp|udp|sctp]
    #[arg(short = 'p', long = "publish", value_name = "PORTS", value_parser = parse_port)]
    ports: Vec<PortMapping>,
    /// Annotation of the pod
    #[arg(long = "annotation", value_name = "KEY=VALUE", value_parser = parse_pair)]
    annotations: Vec<(String, String)>,
    /// Use the host's network
    #[arg(long)]
    host_network: bool,
    /// See the host's processes
    #[arg(long, conflicts_with = "share_pid")]
    host_pid: bool,
    /// Use the host's System V IPC and POSIX message queues
    #[arg(long)]
    host_ipc: bool,
    /// Let the pod's containers see each other's processes
    #[arg(long)]
    share_pid: bool,
    /// Name server
    #[arg(long = "dns", value_name = "ADDRESS")]
    dns_servers: Vec<IpAddr>,
    /// Domain in which short names are looked up
    #[arg(long = "dns-search", value_name = "DOMAIN")]
    dns_searches: Vec<String>,
    /// Resolver option
    #[arg(long = "dns-option", value_name = "OPTION")]
    dns_options: Vec<String>,
    /// Kernel parameter of the pod's namespaces
    #[arg(long = "sysctl", value_name = "KEY=VALUE", value_parser = parse_pair)]
    sysctls: Vec<(String, String)>,
    /// Cgroup under which the pod's containers go
    #[arg(long, value_name = "PATH")]
    cgroup_parent: Option<String>,
}

impl PodOptions {
    /// Lays the flags over a configuration: what they do not say stays. A pod without a uid gets one, and with it
    /// a log directory.
    pub(super) fn apply(
        self,
        name: Option<String>,
        logs: &LogRoot,
        config: &mut PodSandboxConfig,
    ) -> Result<(), Error> {
        let metadata = config.metadata.get_or_insert_with(PodSandboxMetadata::default);
        replace(&mut metadata.name, name);
        replace(&mut metadata.namespace, self.namespace);
        if metadata.namespace.is_empty() {
            "default".clone_into(&mut metadata.namespace);
        }
        if metadata.uid.is_empty() {
            metadata.uid = random_digits(UID_LEN)?;
        }
        if metadata.name.is_empty() {
            metadata.name = format!("pod-{}", &metadata.uid[..UID_LEN.min(8)]);
        }
        if let (true, Some(directory)) = (config.log_directory.is_empty(), logs.of_pod(&metadata.uid)) {
            config.log_directory = directory.display().to_string();
        }
        replace(&mut config.hostname, self.hostname);
        if config.hostname.is_empty() && !self.host_network {
            config.hostname.clone_from(&metadata.name);
        }
        config.port_mappings.extend(self.ports);
        config.annotations.extend(self.annotations);
        if !(self.dns_servers.is_empty() && self.dns_searches.is_empty() && self.dns_options.is_empty()) {
            let dns = config.dns_config.get_or_insert_with(DnsConfig::default);
            dns.servers.extend(self.dns_servers.iter().map(IpAddr::to_string));
            dns.searches.extend(self.dns_searches);
            dns.options.extend(self.dns_options);
        }

        let linux = config.linux.get_or_insert_with(LinuxPodSandboxConfig::default);
        linux.sysctls.extend(self.sysctls);
        replace(&mut linux.cgroup_parent, self.cgroup_parent);
        let security = linux.security_context.get_or_insert_with(|| LinuxSandboxSecurityContext {
            namespace_options: Some(NamespaceOption { pid: NamespaceMode::Container.into(), ..Default::default() }),
            seccomp: Some(SecurityProfile::default()),
            ..Default::default()
        });
        let namespaces = security.namespace_options.get_or_insert_with(NamespaceOption::default);
        if self.host_network {
            namespaces.network = NamespaceMode::Node.into();
        }
        if self.host_ipc {
            namespaces.ipc = NamespaceMode::Node.into();
        }
        if self.host_pid {
            namespaces.pid = NamespaceMode::Node.into();
        }
        if self.share_pid {
            namespaces.pid = NamespaceMode::Pod.into();
        }
        Ok(())
    }
}

fn replace(field: &mut String, value: Option<String>) {
    if let Some(value) = value {
        *field = value;
    }
}

/// So many random hexadecimal digits.
pub(super) fn random_digits(count: usize) -> Result<String, Error> {
    use std::{fs::File, io::Read as _};
    let path = PathBuf::from("/dev/urandom");
    let mut bytes = vec![0; count.div_ceil(2)];
    File::open(&path)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(|source| Error::Read { path, source })?;
    let mut digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.truncate(count);
    Ok(digits)
}

/// Reads `KEY=VALUE`; a key alone has an empty value.
pub(super) fn parse_pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if key.is_empty() { Err("must be KEY=VALUE".to_owned()) } else { Ok((key.to_owned(), value.to_owned())) }
}

/// A selector's labels, all of which must match.
pub(super) fn selector(labels: Vec<(String, String)>) -> BTreeMap<String, String> {
    labels.into_iter().collect()
}

/// Reads `[ADDRESS:]HOST_PORT:POD_PORT[/PROTOCOL]`, with an IPv6 address in brackets.
fn parse_port(text: &str) -> Result<PortMapping, String> {
    let refuse = || "must be [ADDRESS:]HOST_PORT:POD_PORT[/tcp|udp|sctp]".to_owned();
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        _ => return Err(refuse()),
    };
    let (rest, pod_port) = ports.rsplit_once(':').ok_or_else(refuse)?;
    let (address, host_port) = match rest.rsplit_once(':') {
        Some((address, port)) => (Some(address.trim_start_matches('[').trim_end_matches(']')), port),
        None => (None, rest),
    };
    let port = |text: &str| text.parse::<u16>().ok().filter(|&port| port != 0).map(i32::from).ok_or_else(refuse);
    let host_ip = match address {
        Some(address) => address.parse::<IpAddr>().map_err(|_| refuse())?.to_string(),
        None => String::new(),
    };
    Ok(PortMapping { protocol: protocol.into(), container_port: port(pod_port)?, host_port: port(host_port)?, host_ip })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logs() -> LogRoot {
        LogRoot { log_root: "/logs".into() }
    }

    #[test]
    fn ports_are_read_with_and_without_address() {
        let port = |text| parse_port(text).expect(text);
        let mapping = port("8080:80");
        assert_eq!((mapping.host_port, mapping.container_port, mapping.protocol()), (8080, 80, Protocol::Tcp));
        assert_eq!(port("127.0.0.1:53:53/udp").host_ip, "127.0.0.1");
        assert_eq!(port("[::1]:53:5353/SCTP").host_ip, "::1");
        for bad in ["", "80", "0:80", "80:0", "80:65536", "x:80:80", "80:80/icmp", "[::1]:80", "1:2:3:4"] {
            assert!(parse_port(bad).is_err(), "{bad:?} was taken for ports");
        }
    }

    #[test]
    fn a_pod_without_flags_has_a_name_a_uid_and_a_log_directory() {
        let mut config = PodSandboxConfig::default();
        PodOptions::default().apply(None, &logs(), &mut config).expect("random digits");
        let metadata = config.metadata.expect("metadata");
        assert_eq!(metadata.namespace, "default");
        assert_eq!(metadata.uid.len(), UID_LEN);
        assert!(metadata.name.starts_with("pod-"));
        assert_eq!(config.hostname, metadata.name);
        assert_eq!(config.log_directory, format!("/logs/{}", metadata.uid));
    }

    #[test]
    fn flags_win_over_a_file_and_leave_the_rest() {
        let mut config = PodSandboxConfig {
            metadata: Some(PodSandboxMetadata { name: "file".into(), uid: "u".into(), ..Default::default() }),
            log_directory: "/elsewhere".into(),
            ..Default::default()
        };
        let options =
            PodOptions { host_network: true, annotations: vec![("a".into(), "b".into())], ..Default::default() };
        options.apply(Some("flag".into()), &logs(), &mut config).expect("applies");
        let metadata = config.metadata.expect("metadata");
        assert_eq!((metadata.name.as_str(), metadata.uid.as_str()), ("flag", "u"));
        assert_eq!(config.log_directory, "/elsewhere");
        assert_eq!(config.annotations["a"], "b");
        let namespaces = config.linux.and_then(|linux| linux.security_context).and_then(|s| s.namespace_options);
        assert_eq!(namespaces.expect("namespaces").network(), NamespaceMode::Node);
    }

    #[test]
    fn only_uids_made_here_have_a_log_directory() {
        assert_eq!(logs().of_pod(&"a".repeat(UID_LEN)), Some(format!("/logs/{}", "a".repeat(UID_LEN)).into()));
        for foreign in ["", "..", "../../etc", "7b8c1d2e-0000-4000-8000-000000000000", &"/".repeat(UID_LEN)] {
            assert_eq!(logs().of_pod(foreign), None, "{foreign:?}");
        }
    }
}
