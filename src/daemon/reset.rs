//! `berth system reset`: takes everything of the engine off this host, and nothing else.

use std::{
    fs,
    io::ErrorKind::{DirectoryNotEmpty, NotFound, ResourceBusy},
    path::Path,
    sync::Arc,
};

use super::{
    Error,
    assemble::{Process, open_engine},
    config::Settings,
};
use crate::{
    engine::{self, Engine, PodFilter},
    error::chain,
    monitor::client::Spawner,
    runtime::cgroup::Hierarchy,
    state,
};

/// What the rooms keep in the root directory.
const IN_ROOT: &[&str] = &["image", "containers", state::FILE];
/// Records of what CNI plugins were asked for: those that are left could not be unmade, and are needed for that.
const CNI: &str = "cni";
/// What they keep in the state directory; the lock goes last.
const IN_STATE: &[&str] = &["pods", "network", "cgroups", "boot_id", "berth.sock", "lock"];

/// Removes pods with their containers, then images, records and directories. Settings and foreign files stay. No
/// thread may exist yet.
///
/// # Errors
/// [`Error::AlreadyRunning`] while an engine runs. When something cannot be removed the rest is still there, and
/// another call goes on.
pub(crate) fn reset(settings: &Settings) -> Result<(), Error> {
    let Process { lock: _lock, spawner, runtime } = Process::prepare(settings)?;
    runtime.block_on(remove_pods(settings, spawner))?;
    if let Ok(cgroups) = Hierarchy::detect()
        && let Err(error) = cgroups.open(&settings.cgroup.root).remove()
    {
        tracing::warn!(error = chain(&error), "the cgroup of pods is left");
    }
    remove_directory(&settings.root.join(CNI))?;
    remove_files(&settings.root, IN_ROOT)?;
    remove_files(&settings.state, IN_STATE)
}

/// Has an engine find its pods and remove them. Without readable records it finds them as it finds what was left half
/// made: by their directories.
async fn remove_pods(settings: &Settings, spawner: Spawner) -> Result<(), Error> {
    let engine: Arc<Engine> = match open_engine(settings, spawner.clone()).await {
        Ok(engine) => engine,
        Err(error @ Error::Engine(engine::Error::State { .. })) => {
            tracing::warn!(error = chain(&error), "going on without the records");
            remove(&settings.root.join(state::FILE))?;
            open_engine(settings, spawner).await?
        }
        Err(error) => return Err(error),
    };
    for pod in engine.pods(&PodFilter::default()) {
        engine.remove_pod(pod.id.as_str()).await.map_err(Error::Engine)?;
    }
    engine.close().await;
    Ok(())
}

fn remove_files(directory: &Path, names: &[&str]) -> Result<(), Error> {
    names.iter().try_for_each(|name| remove(&directory.join(name)))?;
    match remove_directory(directory) {
        // What is not ours keeps the directory, and so does a disk of its own.
        Err(Error::File { source, .. }) if matches!(source.kind(), DirectoryNotEmpty | ResourceBusy) => Ok(()),
        removed => removed,
    }
}

fn remove_directory(path: &Path) -> Result<(), Error> {
    match fs::remove_dir(path) {
        Err(error) if error.kind() != NotFound => Err(Error::file("remove", path, error)),
        _ => Ok(()),
    }
}

fn remove(path: &Path) -> Result<(), Error> {
    let removed = match path.is_dir() {
        true => fs::remove_dir_all(path),
        false => fs::remove_file(path),
    };
    match removed {
        Err(error) if error.kind() != NotFound => Err(Error::file("remove", path, error)),
        _ => Ok(()),
    }
}
