//! CheckpointContainer: a running container written into an archive, and created again from one.
//!
//! The archive is what the other engines write, and `checkpointctl` reads: criu's images in `checkpoint/`, the changed
//! files as a layer in `rootfs-diff.tar`, and what the container was in `config.dump` and `spec.dump`. What only we
//! need is in `berth.dump`.

use std::{
    fs::{self, File},
    io::BufWriter,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::json;

use super::Container;
use crate::{
    engine::{Engine, Error},
    image::directory,
    runtime::{
        checkpoint::{self, Description, Dump, Restore},
        plan::ContainerPlan,
    },
    task::blocking,
    types::{ContainerConfig, Id, NamespaceMode, Timestamp},
};

/// How long a caller waits who has not said how long.
const PATIENCE: Duration = Duration::from_secs(120);
/// Where a checkpoint's parts are while it is made or used, beside the container's writable layer.
const DIRECTORY: &str = "checkpoint";

const IMAGES: &str = "checkpoint";
const CHANGES: &str = "rootfs-diff.tar";
const CONFIG: &str = "config.dump";
const SPEC: &str = "spec.dump";
const DESCRIPTION: &str = "berth.dump";

/// What `config.dump` says, as far as a restore needs it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct DumpedConfig {
    /// The image's name.
    #[serde(default)]
    rootfs_image: String,
    /// Its id.
    #[serde(default, rename = "rootfsImageRef")]
    rootfs_image_ref: String,
}

/// The checkpoint that a container is made from, fixed at its creation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Origin {
    /// Directory of the checkpoint's parts.
    directory: PathBuf,
    description: Description,
}

impl Origin {
    /// What the monitor is to begin from.
    pub(super) fn restore(&self) -> Result<Restore, checkpoint::Error> {
        Ok(Restore {
            criu: checkpoint::find_criu()?,
            images: self.directory.join(IMAGES),
            description: self.description.clone(),
        })
    }

    /// Makes the changed files in the container's new writable layer. Blocking.
    pub(super) fn apply_changes(&self, upper: &Path) -> Result<(), Error> {
        let path = self.directory.join(CHANGES);
        let changes = File::open(&path).map_err(|source| Error::file("open", &path, source))?;
        directory::extract(changes, upper)
            .map_err(|source| Error::image("restore", "the container's files", source))?;
        fs::remove_file(&path).map_err(|source| Error::file("remove", path, source))
    }

    /// Throws the checkpoint away.
    pub(super) fn discard(&self) {
        discard(&self.directory);
    }
}

impl Engine {
    /// Writes a running container, which goes on, into an archive at the absolute path `location`; a file that is there
    /// is replaced when all has gone well. `patience` is how long the caller waits, zero for the usual time.
    ///
    /// # Errors
    /// `FailedPrecondition` when it does not run, is of a kind that cannot be checkpointed, or there is no criu;
    /// `DeadlineExceeded` when the caller waits no longer: the checkpoint may come into being all the same.
    pub async fn checkpoint_container(
        self: &Arc<Self>,
        id: &str,
        location: PathBuf,
        patience: Duration,
    ) -> Result<(), Error> {
        let container = self.find_container(id)?;
        let patience = if patience.is_zero() { PATIENCE } else { patience };
        let (engine, waited_for) = (Arc::clone(self), container.id.clone());
        let checkpoint = self.tasks.spawn(async move { engine.checkpoint_found(&container, location).await });
        match tokio::time::timeout(patience, checkpoint).await {
            Ok(done) => done.unwrap_or(Err(Error::Panicked("a checkpoint"))),
            Err(_) => Err(Error::CheckpointTimeout { container: waited_for, seconds: patience.as_secs() }),
        }
    }

    async fn checkpoint_found(&self, container: &Arc<Container>, location: PathBuf) -> Result<(), Error> {
        let _gate = container.gate.lock().await;
        container.require_running()?;
        let failed = |source| Error::checkpoint(&container.id, source);
        let plan = self.plan(container)?;
        checkpoint::check(&plan).map_err(failed)?;
        let criu = checkpoint::find_criu().map_err(failed)?;
        let Some(pid) = container.phase().pid() else { return Err(Error::NoContainer(container.id.to_string())) };
        let container = Arc::clone(container);
        blocking(move || write(&container, &plan, &criu, pid, &location)).await
    }

    /// Reads the checkpoint that a container's image names, if it names one and restoring is allowed. Afterwards the
    /// configuration names the image that the checkpoint was made of.
    pub(super) async fn checkpoint_of(&self, id: &Id, config: &mut ContainerConfig) -> Result<Option<Origin>, Error> {
        if !self.config.restore_checkpoints || !Path::new(&config.image.image).is_absolute() {
            return Ok(None);
        }
        let archive = PathBuf::from(&config.image.image);
        let directory = self.parts.images.container_directory(id).join(DIRECTORY);
        let (dumped, origin) = blocking(move || read(&archive, directory)).await?;
        let names = [dumped.rootfs_image_ref, dumped.rootfs_image];
        match names.iter().find(|name| self.parts.images.resolve(name).is_some()) {
            Some(name) => {
                config.image.image.clone_from(name);
                config.image.user_specified_image.clear();
            }
            None => return Err(Error::NoImage(names.into_iter().next_back().unwrap_or_default())),
        }
        Ok(Some(origin))
    }
}

/// Makes the checkpoint and the archive. Blocking.
fn write(container: &Container, plan: &ContainerPlan, criu: &Path, pid: i32, location: &Path) -> Result<(), Error> {
    let parts = Parts::make(plan.rootfs.upper.with_file_name(DIRECTORY))?;
    let images = parts.0.join(IMAGES);
    fs::create_dir(&images).map_err(|source| Error::file("make directory", &images, source))?;
    let pod_network = container.pod.config.namespaces.network == NamespaceMode::Pod;
    // The files as they are at the moment that the processes are dumped.
    let mut changes = Ok(());
    let description = checkpoint::dump(&Dump { criu, pid, plan, pod_network, images: &images }, || {
        changes = pack_changes(&plan.rootfs.upper, &parts.0.join(CHANGES));
        changes.is_ok()
    });
    changes?;
    let description = description.map_err(|source| Error::checkpoint(&container.id, source))?;
    parts.put(CONFIG, &config(container))?;
    parts.put(SPEC, &crate::runtime::plan::container_spec(plan, &container.pod.config, &container.pod.dir))?;
    parts.put(DESCRIPTION, &description)?;
    directory::pack_into_file(&parts.0, location).map_err(|source| Error::image("write", "a checkpoint", source))
}

fn pack_changes(upper: &Path, path: &Path) -> Result<(), Error> {
    let file = File::create_new(path).map_err(|source| Error::file("create", path, source))?;
    directory::pack(upper, BufWriter::new(file))
        .map_err(|source| Error::image("archive", "the container's files", source))
}

/// What the other engines say of a container in a checkpoint.
fn config(container: &Container) -> serde_json::Value {
    json!({
        "id": container.id,
        "name": container.config.metadata.name,
        "rootfsImage": container.config.image.image,
        "rootfsImageRef": container.image_id,
        "rootfsImageName": container.image_name,
        "runtime": "berth",
        "createdTime": container.created_at.to_string(),
        "checkpointedTime": Timestamp::now().to_string(),
    })
}

/// Unpacks an archive and reads what it says. Blocking.
fn read(archive: &Path, parts: PathBuf) -> Result<(DumpedConfig, Origin), Error> {
    let file = File::open(archive).map_err(|source| Error::file("open", archive, source))?;
    fs::create_dir_all(&parts).map_err(|source| Error::file("make directory", &parts, source))?;
    directory::extract(file, &parts).map_err(|source| Error::image("read", "a checkpoint", source))?;
    let dumped = get(&parts, CONFIG)?;
    let description = get(&parts, DESCRIPTION)?;
    Ok((dumped, Origin { directory: parts, description }))
}

fn get<T: DeserializeOwned>(parts: &Path, name: &str) -> Result<T, Error> {
    let path = parts.join(name);
    let text = fs::read(&path).map_err(|source| Error::file("read", &path, source))?;
    serde_json::from_slice(&text)
        .map_err(|error| Error::Invalid { what: "checkpoint", why: format!("its {name}: {error}") })
}

/// A directory that goes away with what is in it.
struct Parts(PathBuf);

impl Parts {
    fn make(directory: PathBuf) -> Result<Self, Error> {
        // Left by a daemon that was killed.
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir(&directory).map_err(|source| Error::file("make directory", &directory, source))?;
        Ok(Self(directory))
    }

    fn put(&self, name: &str, content: &impl Serialize) -> Result<(), Error> {
        let path = self.0.join(name);
        let text = serde_json::to_vec(content).unwrap_or_default();
        fs::write(&path, text).map_err(|source| Error::file("write", path, source))
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        discard(&self.0);
    }
}

fn discard(directory: &Path) {
    if let Err(error) = fs::remove_dir_all(directory) {
        tracing::warn!(path = %directory.display(), %error, "parts of a checkpoint are left");
    }
}
