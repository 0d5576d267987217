//! `berth system reset`: takes everything of the engine off this host, and nothing else.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Error,
    assemble::open_engine,
    config::Settings,
    listen::{self, StateLock},
};
use crate::{
    engine::{Engine, PodFilter},
    error::chain,
    monitor::client::Spawner,
    runtime::cgroup::Hierarchy,
    state,
};

/// What the rooms keep in the root directory.
const IN_ROOT: &[&str] = &["image", "containers", "cni", state::FILE];
/// What they keep in the state directory; the lock goes last.
const IN_STATE: &[&str] = &["pods", "network", "boot_id", "berth.sock", "lock"];

/// Removes pods with their containers, then images, records and directories. Settings and foreign files stay. No
/// thread may exist yet.
///
/// # Errors
/// [`Error::AlreadyRunning`] while an engine runs. When something cannot be removed the rest is still there, and
/// another call goes on.
pub(crate) fn reset(settings: &Settings) -> Result<(), Error> {
    let _lock = StateLock::take(&settings.state)?;
    listen::make_directory(&settings.root)?;
    let spawner = Spawner::start().map_err(Error::Spawner)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::Process("start the async runtime", source))?;
    runtime.block_on(remove_pods(settings, spawner))?;
    if let Ok(cgroups) = Hierarchy::detect()
        && let Err(error) = cgroups.open(&settings.cgroup.root).remove()
    {
        tracing::warn!(error = chain(&error), "the cgroup of pods is left");
    }
    remove_files(&settings.root, IN_ROOT)?;
    remove_files(&settings.state, IN_STATE)
}

/// Has an engine find its pods and remove them. Without readable records it finds them as it finds what was left half
/// made: by their directories.
async fn remove_pods(settings: &Settings, spawner: Spawner) -> Result<(), Error> {
    let engine: Arc<Engine> = match open_engine(settings, spawner.clone()).await {
        Ok(engine) => engine,
        Err(error) => {
            tracing::warn!(error = chain(&error), "going on without the records");
            remove(&settings.root.join(state::FILE))?;
            open_engine(settings, spawner).await?
        }
    };
    for pod in engine.pods(&PodFilter::default()) {
        engine.remove_pod(pod.id.as_str()).await.map_err(Error::Engine)?;
    }
    engine.close().await;
    Ok(())
}

fn remove_files(directory: &Path, names: &[&str]) -> Result<(), Error> {
    names.iter().try_for_each(|name| remove(&directory.join(name)))?;
    // What is not ours keeps the directory.
    match fs::remove_dir(directory) {
        Err(error) if error.kind() != io::ErrorKind::DirectoryNotEmpty => Err(Error::file("remove", directory, error)),
        _ => Ok(()),
    }
}

fn remove(path: &PathBuf) -> Result<(), Error> {
    let removed = match path.is_dir() {
        true => fs::remove_dir_all(path),
        false => fs::remove_file(path),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::file("remove", path, error)),
        _ => Ok(()),
    }
}
