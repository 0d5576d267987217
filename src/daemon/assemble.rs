//! The life of the daemon, in order.

use std::{io, sync::Arc, time::Instant};

use rustix::{
    fs::Mode,
    process::{Resource, getrlimit, setrlimit, umask},
};
use tokio::runtime::Runtime;

use super::{
    Error,
    config::Settings,
    listen::{self, Listener, StateLock},
    metrics,
    notify::{Notifier, State},
    serve::{Server, Stop},
    signal::Termination,
    telemetry,
};
use crate::{
    cri,
    engine::{Engine, Parts, StreamBackend},
    error::chain,
    image,
    monitor::client::Spawner,
    network::Network,
    runtime::{cgroup::Hierarchy, lsm::apparmor, plan::HostFacts},
    streaming,
    sys::{heap, program},
    task::blocking,
};

/// What an engine needs of its process.
#[derive(Debug)]
pub(super) struct Process {
    /// The right to be the one engine on the state directory.
    pub(super) lock: StateLock,
    /// The parent of monitors.
    pub(super) spawner: Spawner,
    /// Where all else runs.
    pub(super) runtime: Runtime,
}

impl Process {
    /// Makes this process fit for an engine. No thread may exist yet.
    ///
    /// # Errors
    /// [`Error::AlreadyRunning`] when another process has the state directory, and what the kernel refused.
    pub(super) fn prepare(settings: &Settings) -> Result<Self, Error> {
        telemetry::begin(settings)?;
        umask(Mode::from_raw_mode(0o022));
        let lock = StateLock::take(&settings.state)?;
        listen::make_directory(&settings.root)?;
        // Forks, so it comes before the first thread; and before the limit is raised, which containers must not inherit.
        let spawner = Spawner::start().map_err(Error::Spawner)?;
        raise_file_limit()?;
        heap::share();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .thread_name("berth")
            .build()
            .map_err(|source| Error::Process("start the async runtime", source))?;
        Ok(Self { lock, spawner, runtime })
    }
}

/// Runs the daemon until a signal ends it.
///
/// # Errors
/// What kept it from starting, or from serving on.
pub(super) fn run(settings: &Settings) -> Result<(), Error> {
    let Process { lock: _lock, spawner, runtime } = Process::prepare(settings)?;
    let outcome = runtime.block_on(live(settings, spawner));
    // What still runs belongs to callers that were told to go; nothing waits for it.
    runtime.shutdown_background();
    outcome
}

/// From the first connection to the last.
async fn live(settings: &Settings, spawner: Spawner) -> Result<(), Error> {
    let began = Instant::now();
    let notifier = Notifier::from_environment();
    let mut termination = Termination::listen()?;
    let door = cri::Door::new(settings.cri());
    let counters = Arc::new(cri::Metrics::default());
    let metrics = metrics::serve(settings.metrics.address.0, &counters).await?;

    // Callers may come in now; until the engine has recovered they are told to try again.
    let group = listen::group_id(&settings.socket.group)?;
    let listener = Listener::bind(&settings.socket_path(), group)?;
    let mut server = Server::start(listener, &door, counters).await?;

    let engine = tokio::select! {
        engine = open_engine(settings, spawner) => engine?,
        ended = server.ended() => return ended,
        signal = termination.next() => {
            tracing::info!(signal, "stopping before the engine has recovered");
            return Ok(());
        }
    };
    let backend = Arc::new(StreamBackend::new(Arc::clone(&engine)));
    let streams = streaming::Server::start(settings.streaming.address, backend).await.map_err(Error::Streaming)?;
    door.open(Arc::clone(&engine), streams);
    if let Some(metrics) = &metrics {
        metrics.tell_of(&engine);
    }
    server.ready().await;
    notifier.tell(State::Ready);
    tracing::info!(
        socket = %settings.socket_path().display(),
        version = env!("CARGO_PKG_VERSION"),
        milliseconds = began.elapsed().as_millis(),
        "ready"
    );
    // The start needed much of the program that is not needed again.
    if let Err(error) = program::let_go_of_instructions() {
        tracing::debug!(%error, "the program's instructions stay in memory");
    }

    let ended = tokio::select! {
        ended = server.ended() => ended,
        signal = termination.next() => {
            tracing::info!(signal, "stopping; pods and containers go on");
            Ok(())
        }
    };
    notifier.tell(State::Stopping);
    door.close();
    tokio::select! {
        () = wind_down(server, &engine, settings) => {}
        signal = termination.next() => tracing::warn!(signal, "stopping at once"),
    }
    ended
}

/// Sets up the rooms from the ground up and lets the engine find its pods again.
pub(super) async fn open_engine(settings: &Settings, spawner: Spawner) -> Result<Arc<Engine>, Error> {
    let host = HostFacts::detect().map_err(Error::Host)?;
    if host.apparmor
        && let Err(error) = blocking(apparmor::ensure_default_profile).await
    {
        tracing::warn!(error = chain(&error), "containers that ask for no AppArmor profile run without one");
    }
    let cgroups = Hierarchy::detect().map_err(Error::Cgroup)?;
    let (image, network) = (settings.image(), settings.network());
    let images = blocking(move || image::Store::open(image)).await.map_err(Error::Image)?;
    let network = blocking(move || Network::open(network)).await.map_err(Error::Network)?;
    let parts = Parts { spawner, images, network, host, cgroups };
    Engine::open(settings.engine(), parts).await.map_err(Error::Engine)
}

/// Lets RPCs and background work end, each within the grace.
async fn wind_down(server: Server, engine: &Engine, settings: &Settings) {
    let grace = settings.grace();
    if server.stop(grace).await == Stop::Cut {
        tracing::warn!(seconds = grace.as_secs(), "some callers were cut off: the grace is over");
    }
    if tokio::time::timeout(grace, engine.close()).await.is_err() {
        tracing::warn!(seconds = grace.as_secs(), "background work is left to the next start: the grace is over");
    }
}

/// Each pod takes some descriptors, and the usual soft limit of 1,024 is soon used up.
fn raise_file_limit() -> Result<(), Error> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)
        .map_err(|source| Error::Process("raise the limit of open files", io::Error::from(source)))
}
