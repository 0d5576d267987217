//! Plans in the form of the OCI runtime specification: the one that tools which look into engines know. Nothing is run by
//! it, but hooks read it.

use std::path::Path;

use serde_json::{Value, json};

use super::{CapabilitySet, ContainerPlan, MountPlan, MountSource, PidNamespace, ReadOnly, UserPlan};
use crate::{
    runtime::{hooks::Hooks, lsm::ExecLabel},
    types::{NamespaceMode, PodConfig, Propagation, Resources},
};

/// The specification that we follow.
pub const OCI_VERSION: &str = "1.2.1";

/// A pod: its namespaces, by their names below the pod's directory, and its cgroup.
pub fn pod_spec(config: &PodConfig, dir: &Path, cgroup: &str) -> Value {
    json!({
        "ociVersion": OCI_VERSION,
        "hostname": config.hostname,
        "annotations": config.annotations,
        "linux": {
            "namespaces": named_namespaces(config, dir),
            "cgroupsPath": cgroup,
            "sysctl": config.sysctls,
        },
    })
}

/// A container of a pod whose directory is `dir`.
pub fn container_spec(plan: &ContainerPlan, pod: &PodConfig, dir: &Path) -> Value {
    let mut namespaces = named_namespaces(pod, dir);
    namespaces.push(json!({ "type": "mount" }));
    match plan.pid {
        PidNamespace::Own => namespaces.push(json!({ "type": "pid" })),
        PidNamespace::Target(pid) => {
            namespaces.push(json!({ "type": "pid", "path": format!("/proc/{pid}/ns/pid") }));
        }
        // That of the pod's init, which has no fixed path, or the host's.
        PidNamespace::Pod | PidNamespace::Host => {}
    }
    let granted = capabilities(plan.confinement.capabilities.granted);
    let ambient = capabilities(plan.confinement.capabilities.ambient);
    let (apparmor, selinux) = match &plan.confinement.label {
        Some(ExecLabel::AppArmor(profile)) => (Some(profile), None),
        Some(ExecLabel::Selinux(label)) => (None, Some(label)),
        None => (None, None),
    };
    json!({
        "ociVersion": OCI_VERSION,
        "hostname": pod.hostname,
        "process": {
            "terminal": plan.process.terminal,
            "user": user(plan),
            "args": plan.process.args,
            "env": plan.process.env,
            "cwd": plan.process.cwd,
            "capabilities": {
                "bounding": granted, "effective": granted, "permitted": granted,
                "inheritable": ambient, "ambient": ambient,
            },
            "noNewPrivileges": plan.confinement.no_new_privs,
            "oomScoreAdj": plan.oom_score_adj,
            "apparmorProfile": apparmor,
            "selinuxLabel": selinux,
        },
        "root": { "path": plan.rootfs.upper, "readonly": plan.readonly_rootfs },
        "hooks": plan.hooks.as_ref().map(Hooks::spec),
        "mounts": plan.mounts.iter().map(mount).collect::<Vec<_>>(),
        "linux": {
            "namespaces": namespaces,
            "cgroupsPath": plan.cgroup,
            "resources": resources(&plan.limits.resources),
            "maskedPaths": plan.masked_paths,
            "readonlyPaths": plan.readonly_paths,
            "mountLabel": plan.mount_label,
        },
    })
}

fn named_namespaces(config: &PodConfig, dir: &Path) -> Vec<Value> {
    let modes = &config.namespaces;
    let host_network = modes.network == NamespaceMode::Node;
    [
        ("network", "net", !host_network),
        ("uts", "uts", !host_network),
        ("ipc", "ipc", modes.ipc != NamespaceMode::Node),
        ("user", "user", modes.user.as_ref().is_some_and(|user| user.mode != NamespaceMode::Node)),
    ]
    .into_iter()
    .filter(|(_, _, is_own)| *is_own)
    .map(|(kind, file, _)| json!({ "type": kind, "path": dir.join("ns").join(file) }))
    .collect()
}

/// Ids as far as they are known before the image's files are looked into.
fn user(plan: &ContainerPlan) -> Value {
    let id = |user: Option<&UserPlan>| match user {
        Some(UserPlan::Id(id)) => *id,
        _ => 0,
    };
    let name = match &plan.user {
        UserPlan::Name(name) => Some(name),
        UserPlan::Id(_) => None,
    };
    json!({
        "uid": id(Some(&plan.user)),
        "gid": id(plan.groups.primary.as_ref()),
        "additionalGids": plan.groups.supplemental,
        "username": name,
    })
}

fn capabilities(set: CapabilitySet) -> Vec<String> {
    set.names().map(|name| format!("CAP_{name}")).collect()
}

fn mount(mount: &MountPlan) -> Value {
    let flags = &mount.flags;
    let mut options = Vec::new();
    let (kind, source) = match &mount.source {
        MountSource::Bind(bind) => {
            let propagation = match bind.propagation {
                Propagation::Private => "rprivate",
                Propagation::HostToContainer => "rslave",
                Propagation::Bidirectional => "rshared",
            };
            options.extend(["rbind", propagation].map(str::to_owned));
            ("bind", bind.path.to_string_lossy().into_owned())
        }
        MountSource::Image { .. } => ("overlay", "overlay".to_owned()),
        MountSource::Proc => ("proc", "proc".to_owned()),
        MountSource::Sysfs => ("sysfs", "sysfs".to_owned()),
        MountSource::Mqueue => ("mqueue", "mqueue".to_owned()),
        MountSource::Devpts => ("devpts", "devpts".to_owned()),
        MountSource::Cgroup { .. } => ("cgroup", "cgroup".to_owned()),
        MountSource::Tmpfs { mode, size } => {
            options.push(format!("mode={mode:o}"));
            options.extend(size.map(|size| format!("size={size}")));
            ("tmpfs", "tmpfs".to_owned())
        }
    };
    options.push(if flags.readonly == ReadOnly::No { "rw" } else { "ro" }.to_owned());
    for (is_set, option) in [
        (flags.readonly == ReadOnly::Recursive, "rro"),
        (flags.nosuid, "nosuid"),
        (flags.nodev, "nodev"),
        (flags.noexec, "noexec"),
    ] {
        options.extend(is_set.then(|| option.to_owned()));
    }
    json!({ "destination": mount.target, "type": kind, "source": source, "options": options })
}

/// Limits that are set.
fn resources(limits: &Resources) -> Value {
    let set = |value: i64| (value != 0).then_some(value);
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    json!({
        "cpu": {
            "shares": set(limits.cpu_shares),
            "quota": set(limits.cpu_quota),
            "period": set(limits.cpu_period),
            "cpus": text(&limits.cpuset_cpus),
            "mems": text(&limits.cpuset_mems),
        },
        "memory": { "limit": set(limits.memory_limit), "swap": set(limits.memory_swap_limit) },
        "unified": limits.unified,
    })
}
