//! CreateContainer: checked, planned, its writable layer made, written down. Nothing runs yet.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Container, Made, Phase, layer_limit::layer_limit};
use crate::{
    engine::{Engine, Error, EventKind, names, new_id, pod::Pod, rollback::Rollback},
    fault,
    image::Image,
    runtime::{
        cdi, checkpoint, launch,
        plan::{ImageDefaults, ImageMount, RootfsPlan},
    },
    task::blocking,
    types::{ContainerConfig, Digest, Id, ImageSpec, Mount, Signal, Timestamp},
};

impl Engine {
    /// Creates a container in a ready pod. The same request sent again gets the same container, until that is started.
    ///
    /// # Errors
    /// `InvalidArgument` for what cannot be run, `NotFound` for a missing pod or image, `FailedPrecondition` when the
    /// pod is not ready, `AlreadyExists` when its name is taken. Nothing of the container is left then.
    pub async fn create_container(self: &Arc<Self>, pod: &str, config: ContainerConfig) -> Result<Id, Error> {
        let pod = self.find_pod(pod)?;
        let asked = digest_of(&config);
        let key = format!("{} {asked}", names::of_container(&config.metadata, &pod.id));
        let engine = Arc::clone(self);
        let create = move || async move { engine.create_new(pod, config, asked).await };
        let result = self.container_creations.run(key, create).await;
        result.unwrap_or(Err(Error::Panicked("creating a container")))
    }

    async fn create_new(self: Arc<Self>, pod: Arc<Pod>, config: ContainerConfig, asked: Digest) -> Result<Id, Error> {
        let _shared = pod.gate.read().await;
        if !pod.is_ready() {
            return Err(Error::PodNotReady(pod.id.clone()));
        }
        let id = new_id()?;
        let name = match self.names.reserve(names::of_container(&config.metadata, &pod.id), &id) {
            Err(Error::NameTaken { holder, .. }) if self.awaits_start(&holder, &asked) => return Ok(holder),
            reserved => reserved?,
        };

        let mut rollback = Rollback::default();
        match self.make_container(&pod, id.clone(), config, asked, &mut rollback).await {
            Ok(container) => {
                name.keep();
                let container = Arc::new(container);
                self.add_container(&container);
                self.tell_of_container(&container, EventKind::Created);
                Ok(id)
            }
            Err(error) => {
                rollback.run().await;
                Err(error)
            }
        }
    }

    /// Whether a container is made from exactly that and nothing has been done with it: who asks for it once more has
    /// not heard the answer.
    fn awaits_start(&self, id: &Id, asked: &Digest) -> bool {
        self.containers.get(id).is_some_and(|container| {
            container.phase() == Phase::Created && !container.is_removing() && container.asked.as_ref() == Some(asked)
        })
    }

    async fn make_container(
        self: &Arc<Self>,
        pod: &Arc<Pod>,
        id: Id,
        mut config: ContainerConfig,
        asked: Digest,
        rollback: &mut Rollback,
    ) -> Result<Container, Error> {
        let (engine, removed) = (Arc::clone(self), id.clone());
        rollback.push("remove the snapshot", move || {
            let (engine, removed) = (Arc::clone(&engine), removed.clone());
            async move { engine.remove_snapshot(&removed).await }
        });
        let checkpoint = self.checkpoint_of(&id, &mut config).await?;
        let image = &*self.find_image(&config.image).await?;
        let log_path = log_path(&pod.config.log_directory, &config.log_path);
        let stop_signal = stop_signal(&config, image)?;
        let cdi = self
            .cdi_edits(&config)
            .await
            .map_err(|source| Error::Plan { object: format!("container {id}"), source: Arc::new(source.into()) })?;

        let limit = layer_limit(&config, &pod.config)?;
        let snapshot = self
            .parts
            .images
            .snapshot(&id, image, limit)
            .await
            .map_err(|source| Error::image("create the writable layer of", format!("container {id}"), source))?;
        fault::point("container.create.snapshot");
        if let Some(origin) = checkpoint.clone() {
            let upper = snapshot.upper.clone();
            blocking(move || origin.apply_changes(&upper)).await?;
        }
        let image_mounts = self.hold_image_mounts(&id, pod, &config).await?;

        let resources = config.resources.clone();
        let made = Made {
            cgroup: self.config.cgroup_driver.container(&pod.cgroup, &id),
            id,
            pod_id: pod.id.clone(),
            created_at: Timestamp::now(),
            image_id: image.id,
            image_ref: image.digests.first().cloned().unwrap_or_else(|| image.id.to_string()),
            image_name: image.tags.first().cloned().unwrap_or_else(|| config.image.image.clone()),
            defaults: defaults(image),
            rootfs: RootfsPlan {
                lower: snapshot.lower,
                upper: snapshot.upper,
                work: snapshot.work,
                fixed_projects: snapshot.fixed_projects,
            },
            image_mounts,
            cdi,
            checkpoint,
            log_path,
            stop_signal,
            config: Arc::new(config),
            asked: Some(asked),
        };
        let container = Container::new(Arc::new(made), Arc::clone(pod), Phase::Created, resources);
        // What cannot be planned must be refused now, not at its start.
        let plan = self.plan(&container)?;
        if container.checkpoint.is_some() {
            checkpoint::check(&plan).map_err(|source| Error::checkpoint(&container.id, source))?;
        }
        make_log_dir(&container).await?;
        fault::point("container.create.planned");
        self.save_container(&container).await?;
        fault::point("container.create.record");
        Ok(container)
    }

    /// What CDI devices add. Most containers name none, and no thread is changed for those.
    async fn cdi_edits(&self, config: &ContainerConfig) -> Result<cdi::Edits, cdi::Error> {
        let names = cdi::requested(config)?;
        if names.is_empty() {
            return Ok(cdi::Edits::default());
        }
        let dirs = self.config.cdi_dirs.clone();
        blocking(move || cdi::edits(&dirs, &names)).await
    }

    /// The image that is meant, if the signature policy lets it be used.
    async fn find_image(&self, spec: &ImageSpec) -> Result<Arc<Image>, Error> {
        let image = self.parts.images.resolve(&spec.image).ok_or_else(|| Error::NoImage(spec.image.clone()))?;
        // kubelet names an image by its id, and says beside it what the pod calls it.
        let said = Some(&spec.user_specified_image).filter(|name| !name.is_empty()).unwrap_or(&spec.image);
        let admitted = self.parts.images.admit(&image, said).await;
        admitted.map_err(|source| Error::image("use", format!("image {said}"), source))?;
        Ok(image)
    }

    /// Resolves the image volumes among the mounts and keeps their layers for as long as the container is there.
    async fn hold_image_mounts(&self, id: &Id, pod: &Pod, config: &ContainerConfig) -> Result<Vec<ImageMount>, Error> {
        let mut held = Vec::new();
        for (index, mount) in config.mounts.iter().enumerate() {
            let Some(spec) = &mount.image else { continue };
            let image = self.find_image(spec).await?;
            let lower = self
                .parts
                .images
                .hold(id, &image)
                .await
                .map_err(|source| Error::image("hold", format!("image volume {:?}", spec.image), source))?;
            if !mount.image_sub_path.is_empty() {
                look_for_sub_path(mount, &lower, &pod.dir).await?;
            }
            held.push(ImageMount { index, lower });
        }
        Ok(held)
    }

    pub(in crate::engine) async fn remove_snapshot(&self, id: &Id) -> Result<(), Error> {
        self.parts
            .images
            .remove_snapshot(id)
            .await
            .map_err(|source| Error::image("remove the writable layer of", format!("container {id}"), source))
    }
}

/// Two requests are the same when they ask for the same container in every detail.
fn digest_of(config: &ContainerConfig) -> Digest {
    Digest::of(&serde_json::to_vec(config).unwrap_or_default())
}

fn defaults(image: &Image) -> ImageDefaults {
    let config = &image.config;
    ImageDefaults {
        env: config.env.clone(),
        entrypoint: config.entrypoint.clone(),
        cmd: config.cmd.clone(),
        working_dir: config.working_dir.clone(),
        user: config.user.clone(),
    }
}

fn log_path(directory: &str, path: &str) -> Option<PathBuf> {
    (!directory.is_empty() && !path.is_empty()).then(|| PathBuf::from(directory).join(path))
}

/// Makes sure that an image has what is to be mounted of it. `scratch` is a directory that nothing is mounted on.
async fn look_for_sub_path(mount: &Mount, lower: &[PathBuf], scratch: &Path) -> Result<(), Error> {
    let image = mount.image.as_ref().map(|spec| spec.image.clone()).unwrap_or_default();
    let (path, sub_path) = (mount.container_path.clone(), mount.image_sub_path.clone());
    let (lower, looked_for, scratch) = (lower.to_vec(), sub_path.clone(), scratch.to_owned());
    match blocking(move || launch::image_has_path(&lower, &looked_for, &scratch)).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(Error::NoSubPath { image, path, sub_path }),
        Err(source) => Err(Error::ImageVolume { image, sub_path, source }),
    }
}

async fn make_log_dir(container: &Container) -> Result<(), Error> {
    let Some(dir) = container.log_path.as_deref().and_then(std::path::Path::parent).map(PathBuf::from) else {
        return Ok(());
    };
    blocking(move || std::fs::create_dir_all(&dir).map_err(|source| Error::file("create", dir, source))).await
}

/// The caller's stop signal before the image's before SIGTERM.
fn stop_signal(config: &ContainerConfig, image: &Image) -> Result<Signal, Error> {
    match (config.stop_signal, image.config.stop_signal.as_deref()) {
        (Some(signal), _) => Ok(signal),
        (None, None | Some("")) => Ok(Signal::TERM),
        (None, Some(text)) => {
            text.parse().map_err(|_| Error::Invalid { what: "image", why: format!("its stop signal is {text:?}") })
        }
    }
}
