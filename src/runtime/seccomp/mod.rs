//! System call filters: from a profile in JSON to a classic BPF program.
//!
//! - **Owns:** the profile format (OCI and Docker forms), the profiles that are built in, the compiler.
//! - **Never:** installs a filter; that is one call of [`crate::sys::seccomp::install`] by the container's own process.
//! - **Runs in:** the daemon, which sends the finished program along with the container's plan.
//! - **Start reading at:** [`compile`].

use std::sync::{Mutex, PoisonError};

mod architecture;
mod compile;
mod error;
mod profile;
mod program;
mod rules;

pub use error::Error;
pub use profile::{BuiltIn, Profile, load, parse};
pub use program::Program;

/// Longest program that the kernel takes, `BPF_MAXINSNS`.
const LONGEST: usize = 4_096;

/// How many programs of built-in profiles are kept, about 6 KiB each.
const KEPT_PROGRAMS: usize = 32;

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
/// Of a call's entries the first whose comparisons hold counts. Calls of other architectures kill the process, and calls
/// newer than the profile are answered with `ENOSYS` unless the default is to let them pass. Names that
/// no architecture knows are passed over.
///
/// # Errors
/// When an action is not supported (`SCMP_ACT_NOTIFY` needs a listener), or the program would be larger than the
/// kernel takes.
pub fn compile(profile: &Profile, conditions: &Conditions) -> Result<Program, Error> {
    compile_for(profile, conditions, architecture::Abi::native())
}

/// What [`compile`] makes of a built-in profile. It is kept: a node's containers have few different sets of capabilities,
/// and compiling takes longer than all else that is planned for a container.
///
/// # Errors
/// As [`compile`].
pub fn compile_built_in(profile: BuiltIn, conditions: &Conditions) -> Result<Program, Error> {
    static KEPT: Mutex<Vec<(BuiltIn, Conditions, Program)>> = Mutex::new(Vec::new());
    // Complete before a panic could happen, so a poisoned lock is no reason to stop.
    let kept = || KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((.., program)) = kept().iter().find(|(of, under, _)| (*of, under) == (profile, conditions)) {
        return Ok(program.clone());
    }
    let program = compile(profile.parsed(), conditions)?;
    let mut kept = kept();
    if kept.len() < KEPT_PROGRAMS {
        kept.push((profile, *conditions, program.clone()));
    }
    Ok(program)
}

fn compile_for(profile: &Profile, conditions: &Conditions, served: &[architecture::Abi]) -> Result<Program, Error> {
    let rules = rules::Rules::plan(profile, conditions, served)?;
    let instructions = compile::compile(&rules);
    if instructions.len() > LONGEST {
        return Err(Error::TooManyInstructions(instructions.len()));
    }
    Ok(Program { flags: rules.flags, instructions })
}

#[cfg(test)]
mod tests;
