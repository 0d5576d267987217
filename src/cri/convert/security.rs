//! Namespaces and security contexts.

use super::{
    check::{Invalid, absolute_path, each, enumeration, name, shown, user_id, word},
    mount::{id_mapping_from_wire, id_mapping_to_wire},
};
use crate::{
    types::{
        ContainerSecurity, NamespaceMode, NamespaceOptions, PodSecurity, Profile, SelinuxOptions,
        SupplementalGroupsPolicy, UserNamespace,
    },
    wire,
};

/// Whose namespaces are asked for.
pub(crate) fn namespaces_from_wire(options: wire::NamespaceOption) -> Result<NamespaceOptions, Invalid> {
    let pid = mode_from_wire("pid", options.pid)?;
    if pid == NamespaceMode::Target && options.target_id.is_empty() {
        return Err(Invalid::new("target_id", "is empty although pid is TARGET"));
    }
    Ok(NamespaceOptions {
        network: shared_mode_from_wire("network", options.network)?,
        pid,
        ipc: shared_mode_from_wire("ipc", options.ipc)?,
        target_id: word("target_id", options.target_id)?,
        user: options
            .userns_options
            .map(user_namespace_from_wire)
            .transpose()
            .map_err(|e| e.within("userns_options"))?,
    })
}

/// Whose namespaces are used.
pub(crate) fn namespaces_to_wire(options: &NamespaceOptions) -> wire::NamespaceOption {
    wire::NamespaceOption {
        network: mode_to_wire(options.network),
        pid: mode_to_wire(options.pid),
        ipc: mode_to_wire(options.ipc),
        target_id: options.target_id.clone(),
        userns_options: options.user.as_ref().map(|user| wire::UserNamespace {
            mode: mode_to_wire(user.mode),
            uids: user.uids.iter().copied().map(id_mapping_to_wire).collect(),
            gids: user.gids.iter().copied().map(id_mapping_to_wire).collect(),
        }),
    }
}

fn mode_from_wire(field: &str, number: i32) -> Result<NamespaceMode, Invalid> {
    Ok(match enumeration(field, number)? {
        wire::NamespaceMode::Pod => NamespaceMode::Pod,
        wire::NamespaceMode::Container => NamespaceMode::Container,
        wire::NamespaceMode::Node => NamespaceMode::Node,
        wire::NamespaceMode::Target => NamespaceMode::Target,
    })
}

fn mode_to_wire(mode: NamespaceMode) -> i32 {
    let mode = match mode {
        NamespaceMode::Pod => wire::NamespaceMode::Pod,
        NamespaceMode::Container => wire::NamespaceMode::Container,
        NamespaceMode::Node => wire::NamespaceMode::Node,
        NamespaceMode::Target => wire::NamespaceMode::Target,
    };
    mode as i32
}

/// A namespace that a pod's containers share: the pod's or the node's.
fn shared_mode_from_wire(field: &str, number: i32) -> Result<NamespaceMode, Invalid> {
    match mode_from_wire(field, number)? {
        mode @ (NamespaceMode::Pod | NamespaceMode::Node) => Ok(mode),
        mode => Err(Invalid::new(field, format!("can be POD or NODE, not {mode:?}"))),
    }
}

fn user_namespace_from_wire(user: wire::UserNamespace) -> Result<UserNamespace, Invalid> {
    Ok(UserNamespace {
        mode: shared_mode_from_wire("mode", user.mode)?,
        uids: each("uids", user.uids, id_mapping_from_wire)?,
        gids: each("gids", user.gids, id_mapping_from_wire)?,
    })
}

/// A pod's security context. It has no process of its own whose identity would matter, so a group without a user is
/// fine here: Kubernetes lets a pod give only `runAsGroup`.
pub(crate) fn pod_from_wire(
    context: wire::LinuxSandboxSecurityContext,
) -> Result<(NamespaceOptions, PodSecurity), Invalid> {
    let namespaces = namespaces_from_wire(context.namespace_options.unwrap_or_default());
    let namespaces = namespaces.map_err(|e| e.within("namespace_options"))?;
    if namespaces.pid == NamespaceMode::Target {
        return Err(Invalid::new("namespace_options.pid", "can be TARGET only for a container"));
    }
    #[expect(deprecated, reason = "still sent by callers older than the field that replaced it")]
    let old_seccomp = context.seccomp_profile_path;
    let security = PodSecurity {
        privileged: context.privileged,
        readonly_rootfs: context.readonly_rootfs,
        run_as_user: optional_id("run_as_user", context.run_as_user)?,
        run_as_group: optional_id("run_as_group", context.run_as_group)?,
        supplemental_groups: group_ids(context.supplemental_groups)?,
        supplemental_groups_policy: policy_from_wire(context.supplemental_groups_policy)?,
        selinux: selinux_from_wire(context.selinux_options)?,
        seccomp: seccomp_from_wire(context.seccomp, old_seccomp)?,
        apparmor: apparmor_from_wire(context.apparmor, String::new())?,
    };
    Ok((namespaces, security))
}

/// A container's security context.
pub(crate) fn container_from_wire(context: wire::LinuxContainerSecurityContext) -> Result<ContainerSecurity, Invalid> {
    let namespaces = namespaces_from_wire(context.namespace_options.unwrap_or_default());
    if context.run_as_group.is_some() && context.run_as_user.is_none() && context.run_as_username.is_empty() {
        return Err(Invalid::new("run_as_group", "needs run_as_user or run_as_username"));
    }
    let capabilities = context.capabilities.unwrap_or_default();
    #[expect(deprecated, reason = "still sent by callers older than the fields that replaced them")]
    let (old_seccomp, old_apparmor) = (context.seccomp_profile_path, context.apparmor_profile);
    Ok(ContainerSecurity {
        privileged: context.privileged,
        add_capabilities: each("capabilities.add_capabilities", capabilities.add_capabilities, capability)?,
        drop_capabilities: each("capabilities.drop_capabilities", capabilities.drop_capabilities, capability)?,
        ambient_capabilities: each(
            "capabilities.add_ambient_capabilities",
            capabilities.add_ambient_capabilities,
            capability,
        )?,
        namespaces: namespaces.map_err(|e| e.within("namespace_options"))?,
        selinux: selinux_from_wire(context.selinux_options)?,
        run_as_user: optional_id("run_as_user", context.run_as_user)?,
        run_as_group: optional_id("run_as_group", context.run_as_group)?,
        run_as_username: word("run_as_username", context.run_as_username)?,
        readonly_rootfs: context.readonly_rootfs,
        supplemental_groups: group_ids(context.supplemental_groups)?,
        supplemental_groups_policy: policy_from_wire(context.supplemental_groups_policy)?,
        no_new_privs: context.no_new_privs,
        masked_paths: each("masked_paths", context.masked_paths, |path| absolute_path("", path))?,
        readonly_paths: each("readonly_paths", context.readonly_paths, |path| absolute_path("", path))?,
        seccomp: seccomp_from_wire(context.seccomp, old_seccomp)?,
        apparmor: apparmor_from_wire(context.apparmor, old_apparmor)?,
    })
}

fn optional_id(field: &str, id: Option<wire::Int64Value>) -> Result<Option<i64>, Invalid> {
    id.map(|id| user_id(field, id.value)).transpose()
}

fn group_ids(ids: Vec<i64>) -> Result<Vec<i64>, Invalid> {
    each("supplemental_groups", ids, |id| user_id("", id))
}

fn capability(capability: String) -> Result<String, Invalid> {
    name("", capability)
}

fn policy_from_wire(number: i32) -> Result<SupplementalGroupsPolicy, Invalid> {
    Ok(match enumeration("supplemental_groups_policy", number)? {
        wire::SupplementalGroupsPolicy::Merge => SupplementalGroupsPolicy::Merge,
        wire::SupplementalGroupsPolicy::Strict => SupplementalGroupsPolicy::Strict,
    })
}

fn selinux_from_wire(options: Option<wire::SeLinuxOption>) -> Result<SelinuxOptions, Invalid> {
    let options = options.unwrap_or_default();
    Ok(SelinuxOptions {
        user: word("selinux_options.user", options.user)?,
        role: word("selinux_options.role", options.role)?,
        kind: word("selinux_options.type", options.r#type)?,
        level: word("selinux_options.level", options.level)?,
    })
}

/// The seccomp profile; the message wins over the word that older callers send.
fn seccomp_from_wire(profile: Option<wire::SecurityProfile>, old: String) -> Result<Option<Profile>, Invalid> {
    let profile = match profile {
        Some(profile) => Some(profile_from_wire("seccomp", profile)?),
        None => profile_from_word("seccomp_profile_path", &old)?,
    };
    if let Some(Profile::Localhost(path)) = &profile {
        absolute_path("seccomp.localhost_ref", path.clone())?;
    }
    Ok(profile)
}

/// The AppArmor profile; the message wins over the word that older callers send.
fn apparmor_from_wire(profile: Option<wire::SecurityProfile>, old: String) -> Result<Option<Profile>, Invalid> {
    match profile {
        Some(mut profile) => {
            // Callers put the older field's words there, too, and the other engines understand them.
            if let Some(name) = profile.localhost_ref.strip_prefix("localhost/") {
                profile.localhost_ref = name.to_owned();
            }
            profile_from_wire("apparmor", profile).map(Some)
        }
        None => profile_from_word("apparmor_profile", &old),
    }
}

fn profile_from_wire(field: &str, profile: wire::SecurityProfile) -> Result<Profile, Invalid> {
    use wire::security_profile::ProfileType;
    let inside = |e: Invalid| e.within(field);
    Ok(match enumeration("profile_type", profile.profile_type).map_err(inside)? {
        ProfileType::RuntimeDefault => Profile::RuntimeDefault,
        ProfileType::Unconfined => Profile::Unconfined,
        ProfileType::Localhost => Profile::Localhost(name("localhost_ref", profile.localhost_ref).map_err(inside)?),
    })
}

/// `runtime/default`, `unconfined` or `localhost/<reference>`; nothing for an empty word.
fn profile_from_word(field: &str, word: &str) -> Result<Option<Profile>, Invalid> {
    Ok(match word {
        "" => None,
        "runtime/default" | "docker/default" => Some(Profile::RuntimeDefault),
        "unconfined" => Some(Profile::Unconfined),
        _ => match word.strip_prefix("localhost/") {
            Some(reference) => Some(Profile::Localhost(name(field, reference.to_owned())?)),
            None => return Err(Invalid::new(field, format!("is not a kind of profile: {}", shown(word)))),
        },
    })
}

#[cfg(test)]
mod tests;
