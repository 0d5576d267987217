//! `berth check`: what this host lacks for the engine, and what to do about it.
//!
//! Nothing is changed on the host: what can only be found out by trying is tried in a namespace that is thrown away.

mod cgroups;
mod kernel;
mod network;
mod privileges;
mod storage;

use rustix::process::geteuid;
use serde::Serialize;

use super::config::Settings;
use crate::{error::chain, runtime::plan::HostFacts};

/// How a finding is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// As it should be.
    Ok,
    /// The engine works, but something it offers does not.
    Warning,
    /// The engine does not work.
    Error,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// How it is to be taken.
    pub(crate) level: Level,
    /// What was looked at, in a word or two.
    pub(crate) topic: &'static str,
    /// What was found.
    pub(crate) found: String,
    /// What can be done about it; empty when there is nothing to do.
    pub(crate) advice: String,
}

impl Finding {
    fn ok(topic: &'static str, found: impl Into<String>) -> Self {
        Self { level: Level::Ok, topic, found: found.into(), advice: String::new() }
    }

    fn warning(topic: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { level: Level::Warning, topic, found: found.into(), advice: advice.into() }
    }

    fn error(topic: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { level: Level::Error, topic, found: found.into(), advice: advice.into() }
    }
}

/// Looks at everything.
pub(crate) fn examine(settings: &Settings) -> Vec<Finding> {
    if !geteuid().is_root() {
        return vec![Finding::error("user", "not root", "run it as root: sudo berth check")];
    }
    let host = match HostFacts::detect() {
        Ok(host) => host,
        Err(error) => {
            let advice = "mount proc on /proc and cgroup2 on /sys/fs/cgroup, or let systemd do it";
            return vec![Finding::error("host", chain(&error), advice)];
        }
    };
    [
        privileges::examine(&host),
        kernel::examine(&host),
        cgroups::examine(&host, settings.cgroup.driver),
        network::examine(&settings.network()),
        storage::examine(settings),
    ]
    .concat()
}
