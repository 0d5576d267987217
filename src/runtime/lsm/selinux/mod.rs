//! SELinux labels, `selinux(8)`.

mod context;
mod level;
mod relabel;

use std::{fs, path::Path};

use rustix::fs::statfs;
use serde::{Deserialize, Serialize};

pub use level::Levels;
pub use relabel::relabel;

use super::{Error, ExecLabel};
use crate::types::SelinuxOptions;
use context::Context;

/// `SELINUX_MAGIC`, the type of `selinuxfs`.
const SELINUXFS: rustix::fs::FsWord = 0xf97c_ff8c;
/// Contexts of containers where the policy does not tell.
const PROCESS: &str = "system_u:system_r:container_t:s0";
const FILE: &str = "system_u:object_r:container_file_t:s0";

/// The labels of one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Labels {
    /// Context of its processes.
    pub process: String,
    /// Context of its files.
    pub mount: String,
}

impl Labels {
    /// What the process takes on at `execve`.
    pub fn exec(&self) -> ExecLabel {
        ExecLabel::Selinux(self.process.clone())
    }

    /// Value of the `context` mount option.
    pub fn mount_context(&self) -> &str {
        &self.mount
    }
}

/// Whether the kernel has SELinux on.
pub fn enabled() -> bool {
    statfs("/sys/fs/selinux").is_ok_and(|file_system| file_system.f_type == SELINUXFS)
}

/// The labels for a container; `None` where SELinux is off or the container is privileged without options.
///
/// `level` is the pod's (from [`Levels::allocate`]) when the options name none, so that a pod's containers share one.
///
/// # Errors
/// Options that are not well-formed, also where SELinux is off, and where it is on, a context that its policy does not
/// have.
pub fn plan(options: &SelinuxOptions, privileged: bool, level: &str) -> Result<Option<Labels>, Error> {
    context::check(options)?;
    if !enabled() || privileged && options.is_empty() {
        return Ok(None);
    }
    let labels = choose(options, level, &policy_defaults());
    for label in [&labels.process, &labels.mount] {
        check_with_policy(label)?;
    }
    Ok(Some(labels))
}

/// A file's type and role stay the policy's: options are about the process.
fn choose(options: &SelinuxOptions, level: &str, (process, file): &(Context, Context)) -> Labels {
    let level = if options.level.is_empty() { level } else { &options.level };
    let file_options = SelinuxOptions { user: options.user.clone(), level: level.to_owned(), ..Default::default() };
    let process_options = SelinuxOptions { level: level.to_owned(), ..options.clone() };
    Labels { process: process.with(&process_options).to_string(), mount: file.with(&file_options).to_string() }
}

/// The contexts that the policy gives containers, `lxc_contexts(5)`.
fn policy_defaults() -> (Context, Context) {
    let config = fs::read_to_string("/etc/selinux/config").unwrap_or_default();
    let kind = setting(&config, "SELINUXTYPE").unwrap_or("targeted");
    let path = Path::new("/etc/selinux").join(kind).join("contexts/lxc_contexts");
    let contexts = fs::read_to_string(path).unwrap_or_default();
    let context = |key, fallback| Context::parse(setting(&contexts, key).unwrap_or(fallback));
    (context("process", PROCESS), context("file", FILE))
}

/// The value of a line `key = "value"`.
fn setting<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let values = text.lines().filter_map(|line| line.split_once('=')).filter(|(name, _)| name.trim() == key);
    values.map(|(_, value)| value.trim().trim_matches('"')).next()
}

/// Asks the kernel whether the loaded policy has that context.
fn check_with_policy(label: &str) -> Result<(), Error> {
    super::write(Path::new("/sys/fs/selinux/context"), label)
        .map_err(|_| Error::InvalidSelinux { part: "context", value: label.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defaults() -> (Context, Context) {
        (Context::parse(PROCESS), Context::parse(FILE))
    }

    #[test]
    fn a_pods_level_is_shared_and_options_are_about_the_process() {
        let labels = choose(&SelinuxOptions::default(), "s0:c1,c2", &defaults());
        assert_eq!(labels.process, "system_u:system_r:container_t:s0:c1,c2");
        assert_eq!(labels.mount, "system_u:object_r:container_file_t:s0:c1,c2");

        let options = SelinuxOptions {
            user: "user_u".into(),
            role: "user_r".into(),
            kind: "svirt_lxc_net_t".into(),
            level: "s0:c4,c5".into(),
        };
        let labels = choose(&options, "s0:c1,c2", &defaults());
        assert_eq!(labels.process, "user_u:user_r:svirt_lxc_net_t:s0:c4,c5");
        assert_eq!(labels.mount, "user_u:object_r:container_file_t:s0:c4,c5");
    }

    #[test]
    fn without_any_level_the_policys_holds() {
        assert_eq!(choose(&SelinuxOptions::default(), "", &defaults()).process, PROCESS);
    }

    #[test]
    fn policy_files_are_read_past_comments() {
        let text = "# process = \"no\"\nprocess = \"a:b:c:s0\"\nfile=\"d:e:f:s0\"\n";
        assert_eq!(setting(text, "process"), Some("a:b:c:s0"));
        assert_eq!(setting(text, "file"), Some("d:e:f:s0"));
        assert_eq!(setting(text, "content"), None);
    }

    #[test]
    fn where_selinux_is_off_only_malformed_options_fail() {
        if enabled() {
            return;
        }
        let good = SelinuxOptions { kind: "container_t".into(), level: "s0:c1".into(), ..Default::default() };
        assert_eq!(plan(&good, false, "").expect("inert"), None);
        let bad = SelinuxOptions { level: "high".into(), ..Default::default() };
        assert!(plan(&bad, false, "").is_err());
    }
}
