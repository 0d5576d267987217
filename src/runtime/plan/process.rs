//! What a container's process runs with: arguments, environment, working directory.

use serde::{Deserialize, Serialize};

use super::{ContainerRequest, ImageDefaults};
use crate::{runtime::error::PlanError, types::ContainerConfig};

/// Where programs are looked for when nobody says otherwise.
pub(in crate::runtime) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program to execute.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessPlan {
    /// The program and its arguments; never empty.
    pub args: Vec<String>,
    /// `NAME=value` entries, each name once. `HOME` is added by the process itself when it is missing.
    pub env: Vec<String>,
    /// Working directory, absolute; made when it is missing.
    pub cwd: String,
    /// It gets a terminal.
    pub terminal: bool,
}

pub(super) fn plan(request: &ContainerRequest<'_>) -> Result<ProcessPlan, PlanError> {
    let process = ProcessPlan {
        args: args(request.config, request.image)?,
        env: env(request),
        cwd: cwd(request.config, request.image)?,
        terminal: request.config.tty,
    };
    match process.args.iter().chain(&process.env).find(|text| text.contains('\0')) {
        Some(text) => Err(PlanError::NulByte(text.replace('\0', "\\0").chars().take(64).collect())),
        None => Ok(process),
    }
}

/// A command replaces the image's entry point and its arguments; arguments alone replace only the arguments.
fn args(config: &ContainerConfig, image: &ImageDefaults) -> Result<Vec<String>, PlanError> {
    let command = if config.command.is_empty() { &image.entrypoint } else { &config.command };
    let args = if config.args.is_empty() && config.command.is_empty() { &image.cmd } else { &config.args };
    match [command.as_slice(), args].concat() {
        all if all.is_empty() => Err(PlanError::NoCommand),
        all => Ok(all),
    }
}

fn env(request: &ContainerRequest<'_>) -> Vec<String> {
    let mut env = vec![format!("PATH={PATH}")];
    if request.config.tty {
        set(&mut env, "TERM=xterm".to_owned());
    }
    let hostname = &request.pod.hostname;
    set(&mut env, format!("HOSTNAME={}", if hostname.is_empty() { &request.host.hostname } else { hostname }));
    for entry in request.image.env.iter().filter(|entry| entry.contains('=')) {
        set(&mut env, entry.clone());
    }
    for (name, value) in &request.config.envs {
        set(&mut env, format!("{name}={value}"));
    }
    for entry in &request.cdi.env {
        set(&mut env, entry.clone());
    }
    env
}

/// Sets a variable where it stands, so that each name is there once and later values win.
pub(super) fn set(env: &mut Vec<String>, entry: String) {
    let name = |entry: &str| entry.split_once('=').map_or(entry.len(), |(name, _)| name.len() + 1);
    let prefix = &entry[..name(&entry)];
    match env.iter_mut().find(|old| old.starts_with(prefix)) {
        Some(old) => *old = entry,
        None => env.push(entry),
    }
}

fn cwd(config: &ContainerConfig, image: &ImageDefaults) -> Result<String, PlanError> {
    let wanted = [&config.working_dir, &image.working_dir].into_iter().find(|dir| !dir.is_empty());
    let cwd = wanted.map_or("/", String::as_str);
    if !cwd.starts_with('/') || cwd.contains('\0') || cwd.len() >= 4096 {
        return Err(PlanError::InvalidPath { what: "working directory", path: cwd.chars().take(256).collect() });
    }
    Ok(cwd.to_owned())
}
