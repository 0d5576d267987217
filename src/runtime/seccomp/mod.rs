//! System call filters: from a profile in JSON to a classic BPF program.
//!
//! - **Owns:** the profile format (OCI and Docker forms), the default profile, the compiler.
//! - **Never:** installs a filter; that is one call of [`crate::sys::seccomp::install`] by the container's own process.
//! - **Runs in:** the daemon, which sends the finished program along with the container's plan.
//! - **Start reading at:** [`compile`].

mod error;
mod profile;
mod program;

pub use error::Error;
pub use profile::{Profile, default_profile, load, parse};
pub use program::Program;

/// What a profile's conditions (`includes` and `excludes`) are tested against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conditions {
    /// The container's capability bounding set, a bit mask by capability number as in `/proc/self/status`.
    pub capabilities: u64,
    /// The running kernel's major and minor version.
    pub kernel: (u32, u32),
}

/// Compiles `profile` into a filter for this machine's architecture and its compatible 32-bit ones.
///
/// # Errors
/// When an action is not supported (`SCMP_ACT_NOTIFY` needs a listener), or the program would be larger than the
/// kernel takes. System calls with unknown names are left out.
pub fn compile(profile: &Profile, conditions: &Conditions) -> Result<Program, Error> {
    let _ = (profile, conditions);
    todo!()
}
