//! AppArmor, `apparmor(7)`.

use super::{Error, ExecLabel};
use crate::types::Profile;

/// Name of the engine's own profile.
pub const DEFAULT_PROFILE: &str = "berth-default";

/// Whether the kernel enforces AppArmor.
pub fn enabled() -> bool {
    false
}

/// The label for a container that asks for `profile`; `None` leaves the process as it is.
///
/// # Errors
/// A named profile that is not loaded, or any named profile where AppArmor is off. `RuntimeDefault` and nothing at all
/// are met there by doing nothing.
pub fn plan(profile: Option<&Profile>, privileged: bool) -> Result<Option<ExecLabel>, Error> {
    let _ = (profile, privileged);
    Ok(None)
}

/// Loads [`DEFAULT_PROFILE`] unless the kernel has it.
pub fn ensure_default_profile() -> Result<(), Error> {
    Ok(())
}

/// Whether the kernel has a profile of that name.
pub fn is_loaded(name: &str) -> Result<bool, Error> {
    let _ = name;
    Ok(false)
}
