//! What the process may do from here on.

use std::path::Path;

use rustix::{
    io::Errno,
    process::{Gid, Uid},
    thread::{
        CapabilitySet as Bits, CapabilitySets, capabilities, clear_ambient_capability_set,
        configure_capability_in_ambient_set, remove_capability_from_bounding_set, set_capabilities,
        set_keep_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
    },
};

use crate::{
    runtime::{
        error::{At as _, LaunchError, Step},
        launch::Identity,
        plan::{CapabilitySet, Confinement},
    },
    sys::seccomp,
};

/// Needed until the filter is installed.
const CAP_SYS_ADMIN: u64 = 1 << 21;

/// Sets the label that `execve` will give. It is done first, through the host's `/proc`: the container's is not to be
/// trusted.
pub(super) fn label(confinement: &Confinement) -> Result<(), LaunchError> {
    let Some(label) = &confinement.label else { return Ok(()) };
    label.apply(Path::new("/proc")).at(Step::Label, format_args!("{label:?}"))
}

/// Becomes the user, and reduces the bounding set. The other sets keep, beside what the container is granted, what
/// [`restrict`] needs.
pub(super) fn become_user(user: &Identity, confinement: &Confinement) -> Result<(), LaunchError> {
    let granted = confinement.capabilities.granted;
    drop_bounding(granted).at(Step::Capabilities, "bounding")?;
    set_keep_capabilities(true).at(Step::Capabilities, "keep")?;
    let groups: Vec<Gid> = user.groups.iter().map(|&gid| Gid::from_raw(gid)).collect();
    set_thread_groups(&groups).at(Step::Credentials, "groups")?;
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    set_thread_res_gid(gid, gid, gid).at(Step::Credentials, format_args!("gid {}", user.gid))?;
    set_thread_res_uid(uid, uid, uid).at(Step::Credentials, format_args!("uid {}", user.uid))?;
    set_keep_capabilities(false).at(Step::Capabilities, "keep")?;

    let had = capabilities(None).at(Step::Capabilities, "get")?.permitted.bits();
    let ambient = confinement.capabilities.ambient.0 & had;
    let kept = (granted.0 | CAP_SYS_ADMIN) & had;
    set(kept, ambient).at(Step::Capabilities, "permitted")?;
    clear_ambient_capability_set().at(Step::Capabilities, "ambient")?;
    for number in (0..64).filter(|&number| CapabilitySet(ambient).contains(number)) {
        configure_capability_in_ambient_set(Bits::from_bits_retain(1 << number), true)
            .at(Step::Capabilities, format_args!("ambient {number}"))?;
    }
    Ok(())
}

/// The last step before `execve`: the filters, then the capabilities that they needed go. After the container's own
/// filter only `capset` and `execve` are called, which it has to allow anyway for a program to run.
pub(super) fn restrict(confinement: &Confinement) -> Result<(), LaunchError> {
    if confinement.no_new_privs {
        set_no_new_privs(true).at(Step::Seccomp, "no_new_privs")?;
    }
    let sets = capabilities(None).at(Step::Capabilities, "get")?;
    for filter in confinement.project_guard.iter().chain(&confinement.seccomp) {
        seccomp::install(&filter.instructions, filter.flags).at(Step::Seccomp, "")?;
    }
    let granted = confinement.capabilities.granted.0 & sets.permitted.bits();
    if granted == sets.permitted.bits() {
        return Ok(());
    }
    set(granted, sets.inheritable.bits()).at(Step::Capabilities, "permitted")
}

/// Takes all from the bounding set that is not granted.
fn drop_bounding(granted: CapabilitySet) -> rustix::io::Result<()> {
    for number in (0..64).filter(|&number| !granted.contains(number)) {
        match remove_capability_from_bounding_set(Bits::from_bits_retain(1 << number)) {
            Ok(()) => {}
            // The kernel does not know it, and none of the higher ones either.
            Err(Errno::INVAL) => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn set(permitted: u64, inheritable: u64) -> rustix::io::Result<()> {
    let permitted = Bits::from_bits_retain(permitted);
    set_capabilities(
        None,
        CapabilitySets { effective: permitted, permitted, inheritable: Bits::from_bits_retain(inheritable) },
    )
}
