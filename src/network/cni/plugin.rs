//! Running one plugin: a program that is told what to do by its environment and its standard input.

use std::{
    fmt, io,
    path::PathBuf,
    process::{Output, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use rustix::fs::{Access, access};
use serde::Deserialize;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, Command},
};

use super::error::{Error, Unloadable};

/// Most that is taken from each output of a plugin, bytes: a result is a few KiB.
const MOST_OUTPUT: u64 = 1 << 20;
/// Most of an output that an error quotes, characters.
const MOST_QUOTED: usize = 1000;
/// Where plugins find programs like iptables if the daemon itself was not told.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a plugin is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Join a pod to the network.
    Add,
    /// Take a pod off the network.
    Del,
    /// Look whether a pod is still joined.
    Check,
    /// Throw away what belongs to no pod.
    Gc,
    /// Say whether ADD would work.
    Status,
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
            Self::Check => "CHECK",
            Self::Gc => "GC",
            Self::Status => "STATUS",
        })
    }
}

/// The installed plugins.
#[derive(Debug)]
pub(super) struct Plugins {
    /// Where they are looked for, in this order.
    pub(super) dirs: Vec<PathBuf>,
    /// How long one may run.
    pub(super) timeout: Duration,
}

/// The form in which plugins say what went wrong.
#[derive(Deserialize)]
struct Complaint {
    code: u32,
    msg: String,
    #[serde(default)]
    details: String,
}

impl Plugins {
    /// The program of a plugin.
    ///
    /// # Errors
    /// When no directory has it.
    pub(super) fn find(&self, plugin: &str) -> Result<PathBuf, Error> {
        let programs = self.dirs.iter().map(|dir| dir.join(plugin));
        let is_program = |path: &PathBuf| path.is_file() && access(path, Access::EXEC_OK).is_ok();
        programs.into_iter().find(is_program).ok_or_else(|| {
            let dirs: Vec<_> = self.dirs.iter().map(|dir| dir.display().to_string()).collect();
            Error::NotLoaded(Unloadable::NoPlugin { plugin: plugin.to_owned(), dirs: dirs.join(", ") })
        })
    }

    /// Asks a plugin to do something and returns what it wrote to its standard output.
    ///
    /// # Errors
    /// What the plugin said, or what kept it from saying it. It has ended in any case.
    pub(super) async fn run(
        &self,
        plugin: &str,
        verb: Verb,
        variables: &[(&str, String)],
        request: &Value,
    ) -> Result<Vec<u8>, Error> {
        let path = self.find(plugin)?;
        let failed = |source| Error::Run { path: path.clone(), source };
        let mut command = Command::new(&path);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into()));
        command.env("CNI_COMMAND", verb.to_string()).env("CNI_PATH", self.search_path());
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        // A group of its own: what a plugin starts can be ended with it, and a terminal's signals do not reach it.
        command.current_dir("/").process_group(0).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        let group = child.id().and_then(|id| i32::try_from(id).ok());

        let output = match tokio::time::timeout(self.timeout, converse(&mut child, &request.to_string())).await {
            Ok(output) => output.map_err(failed)?,
            Err(_) => {
                if let Some(group) = group {
                    // It is there until it has been waited for, so the group is still its own.
                    let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
                }
                let _ = child.wait().await;
                return Err(Error::TimedOut { plugin: plugin.to_owned(), verb, seconds: self.timeout.as_secs() });
            }
        };
        if !output.stderr.is_empty() {
            tracing::debug!(plugin, %verb, text = quote(&output.stderr), "a cni plugin wrote");
        }
        if output.stdout.len() as u64 > MOST_OUTPUT {
            let reason = format!("is longer than {MOST_OUTPUT} bytes");
            return Err(Error::Answer { plugin: plugin.to_owned(), verb, reason });
        }
        if output.status.success() { Ok(output.stdout) } else { Err(complaint(plugin, verb, &output)) }
    }

    fn search_path(&self) -> std::ffi::OsString {
        // A directory with a colon in its name cannot be told; the plugins in it can be run all the same.
        std::env::join_paths(&self.dirs).unwrap_or_default()
    }
}

/// Writes the request, reads both outputs and waits for the end, all at once: a plugin may do them in any order.
async fn converse(child: &mut Child, request: &str) -> io::Result<Output> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let write = async {
        if let Some(mut stdin) = stdin {
            // A plugin that ends without reading says why in its own way.
            let _ = stdin.write_all(request.as_bytes()).await;
        }
    };
    let ((), stdout, stderr, status) = tokio::join!(write, read(stdout), read(stderr), child.wait());
    Ok(Output { status: status?, stdout: stdout?, stderr: stderr? })
}

/// Reads up to one byte more than is taken. Then the pipe is closed, and a plugin that goes on writing ends by that.
async fn read(pipe: Option<impl AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(MOST_OUTPUT + 1).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

fn complaint(plugin: &str, verb: Verb, output: &Output) -> Error {
    let plugin = plugin.to_owned();
    match serde_json::from_slice::<Complaint>(&output.stdout) {
        Ok(said) => Error::Plugin { plugin, verb, code: said.code, message: said.msg, details: said.details },
        Err(_) => {
            let text = if output.stderr.is_empty() { &output.stdout } else { &output.stderr };
            Error::Failed { plugin, verb, status: output.status, output: quote(text) }
        }
    }
}

fn quote(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().chars().take(MOST_QUOTED).collect()
}
