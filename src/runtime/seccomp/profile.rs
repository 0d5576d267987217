//! Profiles as JSON: the OCI runtime-spec's `linux.seccomp` and Docker's superset of it.

use std::path::Path;

use serde::Deserialize;

use super::Error;

/// A parsed profile.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    #[allow(dead_code, reason = "read by the compiler")]
    default_action: String,
}

/// Parses a profile.
pub fn parse(json: &[u8]) -> Result<Profile, Error> {
    serde_json::from_slice(json).map_err(Error::Parse)
}

/// Reads and parses a profile file.
pub fn load(path: &Path) -> Result<Profile, Error> {
    let json = std::fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    parse(&json)
}

/// The engine's default profile (`RuntimeDefault`).
pub fn default_profile() -> &'static Profile {
    todo!()
}
