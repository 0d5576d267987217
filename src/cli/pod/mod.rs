//! `berth pod`: a file a verb, and what other verbs do with pods.

mod inspect;
mod ls;
mod rm;
mod run;
mod stop;

use std::{fs, io, process::ExitCode};

use clap::Subcommand;

use super::{
    Session,
    connection::Engine,
    error::{Answer as _, Error},
    lookup,
    pod_options::LogRoot,
};
use crate::wire::{
    PodSandbox, PodSandboxConfig, PodSandboxStatus, PodSandboxStatusRequest, RemovePodSandboxRequest,
    RunPodSandboxRequest, StopPodSandboxRequest,
};

/// Verbs on pods.
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Make a pod
    Run(Box<run::Run>),
    /// List pods
    Ls(ls::Ls),
    /// Print all that is known about pods, as JSON
    Inspect(inspect::Inspect),
    /// Stop pods: their containers, and their network
    Stop(stop::Stop),
    /// Remove pods and their containers
    Rm(rm::Rm),
}

impl Verb {
    pub(super) async fn perform(self, session: &mut Session) -> Result<ExitCode, Error> {
        match self {
            Self::Run(verb) => verb.perform(session).await,
            Self::Ls(verb) => verb.perform(session).await,
            Self::Inspect(verb) => verb.perform(session).await,
            Self::Stop(verb) => verb.perform(session).await,
            Self::Rm(verb) => verb.perform(session).await,
        }
    }
}

/// Makes a pod and returns its id.
pub(super) async fn start(engine: &mut Engine, config: &PodSandboxConfig, handler: &str) -> Result<String, Error> {
    let name = config.metadata.as_ref().map_or("", |metadata| &metadata.name);
    let operation = format!("run pod {name}");
    let request = RunPodSandboxRequest { config: Some(config.clone()), runtime_handler: handler.to_owned() };
    Ok(engine.runtime.run_pod_sandbox(request).await.during(operation)?.pod_sandbox_id)
}

/// Asks for a pod's status.
pub(super) async fn status(engine: &mut Engine, id: &str) -> Result<PodSandboxStatus, Error> {
    let operation = || format!("ask for the status of pod {id}");
    let request = PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose: false };
    let answer = engine.runtime.pod_sandbox_status(request).await.during(operation())?;
    answer.status.ok_or_else(|| Error::Incomplete { operation: operation(), missing: "status" })
}

/// Stops a pod.
async fn stop(engine: &mut Engine, pod: &PodSandbox) -> Result<(), Error> {
    let request = StopPodSandboxRequest { pod_sandbox_id: pod.id.clone() };
    engine.runtime.stop_pod_sandbox(request).await.during(format!("stop pod {}", lookup::pod_name(pod)))?;
    Ok(())
}

/// Stops and removes a pod, and the log directory that was made for it here.
pub(super) async fn remove(engine: &mut Engine, pod: &PodSandbox, logs: &LogRoot) -> Result<(), Error> {
    stop(engine, pod).await?;
    let request = RemovePodSandboxRequest { pod_sandbox_id: pod.id.clone() };
    engine.runtime.remove_pod_sandbox(request).await.during(format!("remove pod {}", lookup::pod_name(pod)))?;
    let Some(path) = pod.metadata.as_ref().and_then(|metadata| logs.of_pod(&metadata.uid)) else { return Ok(()) };
    match fs::remove_dir_all(&path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(Error::Remove { path, source }),
        _ => Ok(()),
    }
}
