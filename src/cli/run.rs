//! `berth run`

use std::{path::Path, pin::pin, process::ExitCode};

use clap::{Args, ValueEnum};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{
    Session, attach,
    connection::Engine,
    container_options::ContainerOptions,
    error::{Answer as _, Error, start_failure_code},
    exec::exit_code,
    image,
    log_file::{LogFile, View, container_status},
    lookup, pod,
    pod_options::{LogRoot, PodOptions, parse_pair, random_digits},
    remote::{Interaction, Remote},
};
use crate::wire::{
    ContainerConfig, ContainerStatus, CreateContainerRequest, NamespaceOption, PodSandbox, PodSandboxConfig,
    RemoveContainerRequest, StartContainerRequest, StopContainerRequest,
};

/// Label of containers whose pod was made for them alone and is removed with them.
pub(super) const OWN_POD_LABEL: &str = "berth.run/own-pod";

/// Seconds between asking a container to stop and killing it, when this command is interrupted.
const GRACE: i64 = 10;

/// Run a command in a new container, in a pod of its own; print what it writes; the exit code is the command's.
#[derive(Debug, Args)]
pub(super) struct Run {
    /// Print the container's id and leave it running
    #[arg(short, long)]
    detach: bool,
    #[command(flatten)]
    interaction: Interaction,
    /// Remove container and pod at the end
    #[arg(long, conflicts_with = "detach")]
    rm: bool,
    /// Name of the container, and of its pod
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Run in this pod instead of an own one
    #[arg(long, value_name = "POD", conflicts_with = "PodOptions")]
    pod: Option<String>,
    /// Label of the container, and of its own pod
    #[arg(short = 'l', long = "label", value_name = "KEY=VALUE", value_parser = parse_pair)]
    labels: Vec<(String, String)>,
    /// When to pull the image
    #[arg(long, value_name = "WHEN", default_value = "missing")]
    pull: Pull,
    #[command(flatten)]
    pod_options: PodOptions,
    #[command(flatten)]
    container_options: ContainerOptions,
    #[command(flatten)]
    logs: LogRoot,
    /// The image, and the command if it is not the image's
    #[arg(required = true, trailing_var_arg = true, value_names = ["IMAGE", "COMMAND"])]
    image_and_command: Vec<String>,
}

/// When an image is pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Pull {
    /// Every time
    Always,
    /// When it is not here
    Missing,
    /// Never
    Never,
}

impl Pull {
    /// Sees to it that the image is in the store.
    async fn provide(self, engine: &mut Engine, image: &str) -> Result<(), Error> {
        match self {
            Self::Never => image::must_be_here(engine, image).await,
            Self::Missing if image::is_here(engine, image).await? => Ok(()),
            Self::Missing | Self::Always => image::pull_if_watched(engine, image).await,
        }
    }
}

/// The pod that a container goes into.
struct Home {
    id: String,
    config: PodSandboxConfig,
    /// The pod, if it was made for this container.
    own: Option<PodSandbox>,
}

impl Run {
    pub(super) async fn perform(self: Box<Self>, session: &mut Session) -> Result<ExitCode, Error> {
        let Self { detach, interaction, rm, name, pod, pull, labels, .. } = *self;
        let Self { pod_options, container_options, logs, image_and_command, .. } = *self;
        let engine = &mut session.engine;
        let mut words = image_and_command.into_iter();
        let image = words.next().unwrap_or_default();
        pull.provide(engine, &image).await?;

        // From now on an interrupt is ours to handle, so that nothing half-made is left behind.
        let mut interrupts = Interrupts::listen()?;
        let name = match name {
            Some(name) => name,
            None => format!("{}-{}", image_stem(&image), random_digits(6)?),
        };
        let home = match pod {
            Some(given) => join(engine, &given).await?,
            None => {
                let mut config = PodSandboxConfig::default();
                pod_options.apply(Some(name.clone()), &logs, &mut config)?;
                config.labels.extend(labels.iter().cloned());
                make(engine, config).await?
            }
        };
        let mut config = container_options.config(&name, &image, words.collect(), namespaces(&home.config));
        config.labels.extend(labels);
        (config.stdin, config.tty) = (interaction.interactive, interaction.tty);
        // Who leaves a container to itself comes back to its input later.
        config.stdin_once = interaction.interactive && !detach;
        if home.own.is_some() {
            config.labels.insert(OWN_POD_LABEL.to_owned(), String::new());
        }

        let attached = Some(interaction).filter(|interaction| interaction.is_any() && !detach);
        let (id, remote) = match start(engine, &home, config, attached).await {
            Ok(started) => started,
            Err(error) => {
                if let Some(pod) = &home.own
                    && let Err(also) = pod::remove(engine, pod, &logs).await
                {
                    super::complain(&also)?;
                }
                return Err(error);
            }
        };
        if detach {
            super::print_line(&id)?;
            return Ok(ExitCode::SUCCESS);
        }
        let ended = match remote {
            Some(remote) => watch(engine, &id, &mut interrupts, talk(remote, engine.clone(), &id)).await,
            None => watch(engine, &id, &mut interrupts, show_log(engine.clone(), &id)).await,
        };
        if rm {
            remove(engine, &home, id, &logs).await?;
        }
        let status = ended?;
        Ok(match status.reason.as_str() {
            "StartError" => ExitCode::from(start_failure_code(&status.message)),
            _ => exit_code(status.exit_code),
        })
    }

    #[cfg(test)]
    pub(super) fn image_and_command(&self) -> &[String] {
        &self.image_and_command
    }
}

/// The last word of an image's name, for the name of a container: `busybox` of `docker.io/library/busybox:1.36`.
fn image_stem(image: &str) -> &str {
    let name = image.split('@').next().unwrap_or_default();
    let name = name.rsplit('/').next().unwrap_or_default();
    name.split(':').next().filter(|stem| !stem.is_empty()).unwrap_or("container")
}

fn namespaces(pod: &PodSandboxConfig) -> NamespaceOption {
    let security = pod.linux.as_ref().and_then(|linux| linux.security_context.as_ref());
    security.and_then(|security| security.namespace_options.clone()).unwrap_or_default()
}

async fn make(engine: &mut Engine, config: PodSandboxConfig) -> Result<Home, Error> {
    let id = pod::start(engine, &config, "").await?;
    let own = PodSandbox { id: id.clone(), metadata: config.metadata.clone(), ..Default::default() };
    Ok(Home { id, config, own: Some(own) })
}

/// A pod that is there already. The engine knows its configuration; containers need its name and namespaces from us.
async fn join(engine: &mut Engine, given: &str) -> Result<Home, Error> {
    let pod = lookup::pod(engine, given).await?;
    let status = pod::status(engine, &pod.id).await?;
    let mut config = PodSandboxConfig { metadata: pod.metadata.clone(), ..Default::default() };
    let options = status.linux.and_then(|linux| linux.namespaces).and_then(|namespaces| namespaces.options);
    config.linux.get_or_insert_default().security_context.get_or_insert_default().namespace_options = options;
    Ok(Home { id: pod.id, config, own: None })
}

/// Creates and starts the container; removes it again if it does not start. A session with it begins before its start,
/// so that nothing of what it says is missed.
async fn start(
    engine: &mut Engine,
    home: &Home,
    config: ContainerConfig,
    attached: Option<Interaction>,
) -> Result<(String, Option<Remote>), Error> {
    let name = config.metadata.as_ref().map_or_else(String::new, |metadata| metadata.name.clone());
    let request = CreateContainerRequest {
        pod_sandbox_id: home.id.clone(),
        config: Some(config),
        sandbox_config: Some(home.config.clone()),
    };
    let created = engine.runtime.create_container(request).await.during(format!("create container {name}"))?;
    let container_id = created.container_id;
    match attach_and_start(engine, &container_id, &name, attached).await {
        Ok(remote) => Ok((container_id, remote)),
        Err(error) => {
            let request = RemoveContainerRequest { container_id };
            engine.runtime.remove_container(request).await.during(format!("remove container {name}"))?;
            Err(error)
        }
    }
}

async fn attach_and_start(
    engine: &mut Engine,
    id: &str,
    name: &str,
    attached: Option<Interaction>,
) -> Result<Option<Remote>, Error> {
    let remote = match attached {
        Some(interaction) => Some(attach::open(engine, id, interaction).await?),
        None => None,
    };
    let request = StartContainerRequest { container_id: id.to_owned() };
    engine.runtime.start_container(request).await.during(format!("start container {name}"))?;
    Ok(remote)
}

/// Removes what was made here: the pod, or the container in another's pod.
async fn remove(engine: &mut Engine, home: &Home, container_id: String, logs: &LogRoot) -> Result<(), Error> {
    if let Some(pod) = &home.own {
        return pod::remove(engine, pod, logs).await;
    }
    let operation = format!("remove container {container_id}");
    engine.runtime.remove_container(RemoveContainerRequest { container_id }).await.during(operation)?;
    Ok(())
}

/// Shows what the container writes until it ends.
async fn show_log(mut engine: Engine, id: &str) -> Result<ContainerStatus, Error> {
    let status = container_status(&mut engine, id).await?;
    if status.log_path.is_empty() {
        return Err(Error::NoLog { given: id.to_owned() });
    }
    LogFile::open(Path::new(&status.log_path), View::default())?.follow(&mut engine, id).await
}

/// Talks to the container until it ends.
async fn talk(remote: Remote, mut engine: Engine, id: &str) -> Result<ContainerStatus, Error> {
    remote.run().await?;
    container_status(&mut engine, id).await
}

/// Waits for the end of what shows the container. The first interrupt asks it to stop, a second one kills it.
async fn watch(
    engine: &Engine,
    id: &str,
    interrupts: &mut Interrupts,
    shown: impl Future<Output = Result<ContainerStatus, Error>>,
) -> Result<ContainerStatus, Error> {
    let mut shown = pin!(shown);
    let mut grace = GRACE;
    let mut stopping = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            ended = &mut shown => return ended,
            () = interrupts.next() => {
                let request = StopContainerRequest { container_id: id.to_owned(), timeout: grace };
                let mut runtime = engine.runtime.clone();
                stopping.spawn(async move { runtime.stop_container(request).await });
                grace = 0;
            }
        }
    }
}

/// The signals by which this command is asked to end.
struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupts {
    fn listen() -> Result<Self, Error> {
        let listen = |kind| signal(kind).map_err(Error::Runtime);
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_called_after_their_image() {
        for (image, stem) in [
            ("busybox", "busybox"),
            ("docker.io/library/busybox:1.36", "busybox"),
            ("[::1]:5000/a/b@sha256:00", "b"),
            ("", "container"),
        ] {
            assert_eq!(image_stem(image), stem, "{image}");
        }
    }
}
