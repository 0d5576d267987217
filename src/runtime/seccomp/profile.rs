//! Profiles as JSON: the OCI runtime-spec's `linux.seccomp` and Docker's superset of it, whose rules have conditions.

use std::{fs::File, io::Read as _, path::Path, sync::OnceLock};

use serde::Deserialize;

use super::Error;

/// Larger than any real profile by far (Docker's default has 15 KiB).
const LARGEST: u64 = 1024 * 1024;

/// A parsed profile. Fields that the engine does not know (comments, listener paths) are passed over.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    pub(super) default_action: String,
    #[serde(default)]
    pub(super) default_errno_ret: Option<u32>,
    /// OCI: tables beside the machine's own for which the rules hold.
    #[serde(default)]
    pub(super) architectures: Vec<String>,
    /// Docker: the same, by the machine's own.
    #[serde(default)]
    pub(super) arch_map: Vec<ArchMap>,
    #[serde(default)]
    pub(super) flags: Vec<String>,
    #[serde(default)]
    pub(super) syscalls: Vec<Entry>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ArchMap {
    pub(super) architecture: String,
    #[serde(default)]
    pub(super) sub_architectures: Vec<String>,
}

/// One action for some system calls.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    #[serde(default)]
    pub(super) names: Vec<String>,
    /// A single name, in old profiles.
    #[serde(default)]
    pub(super) name: Option<String>,
    pub(super) action: String,
    #[serde(default)]
    pub(super) errno_ret: Option<u32>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) args: Vec<Argument>,
    #[serde(default)]
    pub(super) includes: Filter,
    #[serde(default)]
    pub(super) excludes: Filter,
}

/// A comparison with one argument of a call.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Argument {
    pub(super) index: u32,
    pub(super) value: u64,
    #[serde(default)]
    pub(super) value_two: u64,
    pub(super) op: Operator,
}

/// `scmp_compare(3)`; all comparisons are of unsigned 64-bit numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum Operator {
    #[serde(rename = "SCMP_CMP_NE")]
    NotEqual,
    #[serde(rename = "SCMP_CMP_LT")]
    Less,
    #[serde(rename = "SCMP_CMP_LE")]
    LessOrEqual,
    #[serde(rename = "SCMP_CMP_EQ")]
    Equal,
    #[serde(rename = "SCMP_CMP_GE")]
    GreaterOrEqual,
    #[serde(rename = "SCMP_CMP_GT")]
    Greater,
    /// `value` is the mask, `valueTwo` what the masked argument must be.
    #[serde(rename = "SCMP_CMP_MASKED_EQ")]
    MaskedEqual,
}

/// Docker's conditions of an entry. Included capabilities must all be held and excluded ones not even one.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Filter {
    #[serde(deserialize_with = "null_is_default")]
    pub(super) caps: Vec<String>,
    #[serde(deserialize_with = "null_is_default")]
    pub(super) arches: Vec<String>,
    #[serde(deserialize_with = "kernel_version")]
    pub(super) min_kernel: Option<(u32, u32)>,
}

fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

fn kernel_version<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<(u32, u32)>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)?.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let version = text.split_once('.').and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    version.map(Some).ok_or_else(|| serde::de::Error::custom(format_args!("not a kernel version: {text:?}")))
}

/// Parses a profile.
///
/// # Errors
/// What is larger than a profile can be, or not of the known form. Names and actions are checked by
/// [`super::compile`].
pub fn parse(json: &[u8]) -> Result<Profile, Error> {
    if json.len() as u64 > LARGEST {
        return Err(Error::TooLarge { limit: LARGEST });
    }
    serde_json::from_slice(json).map_err(Error::Parse)
}

/// Reads and parses a profile file (`Localhost` profiles).
pub fn load(path: &Path) -> Result<Profile, Error> {
    let read = || {
        // Opening a pipe or a device would wait or act.
        if !std::fs::metadata(path)?.is_file() {
            return Err(std::io::Error::other("not a regular file"));
        }
        let mut json = Vec::new();
        File::open(path)?.take(LARGEST + 1).read_to_end(&mut json)?;
        Ok(json)
    };
    parse(&read().map_err(|source| Error::Read { path: path.to_owned(), source })?)
}

/// A profile of the engine's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuiltIn {
    /// `RuntimeDefault`: an allow-list that leaves out what reaches beyond a container.
    Default,
    /// Lets everything pass but changes of files' projects, by which a file system limits what they take.
    FixedProjects,
}

impl BuiltIn {
    /// The profile, parsed once.
    pub fn parsed(self) -> &'static Profile {
        static PARSED: [OnceLock<Profile>; 2] = [const { OnceLock::new() }; 2];
        let text: &[u8] = match self {
            Self::Default => include_bytes!("default.json"),
            Self::FixedProjects => include_bytes!("fixed_projects.json"),
        };
        PARSED[self as usize].get_or_init(|| parse(text).expect("the embedded profile is well-formed"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_parsed_and_unknown_fields_passed_over() {
        let profile = parse(
            br#"{"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/x", "architectures": ["SCMP_ARCH_X86"],
                "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ERRNO", "args": null, "comment": "why",
                              "includes": {"minKernel": "4.8"}, "excludes": {}}]}"#,
        )
        .expect("parses");
        assert_eq!(profile.architectures, ["SCMP_ARCH_X86"]);
        assert_eq!(profile.syscalls[0].includes.min_kernel, Some((4, 8)));
    }

    #[test]
    fn what_is_no_profile_is_refused() {
        for bad in [
            &b""[..],
            b"[]",
            b"{}",
            br#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["a"]}]}"#,
            br#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["a"],"action":"SCMP_ACT_ALLOW",
                "args":[{"index":0,"value":1,"op":"SCMP_CMP_LIKE"}]}]}"#,
            br#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["a"],"action":"SCMP_ACT_ALLOW",
                "includes":{"minKernel":"new"}}]}"#,
        ] {
            assert!(matches!(parse(bad), Err(Error::Parse(_))));
        }
        let huge = vec![b' '; usize::try_from(LARGEST).expect("size") + 1];
        assert!(matches!(parse(&huge), Err(Error::TooLarge { .. })));
    }

    #[test]
    fn only_regular_files_are_read() {
        let missing = load(Path::new("/nonexistent/profile.json")).expect_err("missing");
        assert_eq!(crate::error::Classify::kind(&missing), crate::error::Kind::NotFound);
        assert!(matches!(load(Path::new("/dev/zero")), Err(Error::Read { .. })));
    }
}
