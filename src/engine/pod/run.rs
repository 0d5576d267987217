//! RunPodSandbox: a pod's namespaces, its network and its monitor, all or nothing.

use std::{
    fs,
    net::IpAddr,
    path::Path,
    sync::{Arc, Mutex},
};

use tokio::sync::RwLock;

use super::{Contact, Pod};
use crate::{
    engine::{Engine, Error, EventKind, cpu_rate::CpuRate, names, new_id, rollback::Rollback},
    fault,
    monitor::client::Monitor,
    runtime::{self, launch},
    task::blocking,
    types::{Digest, Id, PodConfig, Timestamp},
};

impl Engine {
    /// Runs a pod and answers when its network is up. The same request sent again gets the same pod, while that is
    /// ready.
    ///
    /// # Errors
    /// `AlreadyExists` when a pod of that name is there; otherwise what kept it from becoming ready, with nothing of
    /// it left.
    pub async fn run_pod(self: &Arc<Self>, config: PodConfig) -> Result<Id, Error> {
        let key = request_key(&config);
        let engine = Arc::clone(self);
        let result = self.pod_runs.run(key, move || async move { engine.run_new_pod(config).await }).await;
        result.unwrap_or(Err(Error::Panicked("running a pod")))
    }

    async fn run_new_pod(self: Arc<Self>, config: PodConfig) -> Result<Id, Error> {
        self.check_handler(&config.runtime_handler)?;
        let id = new_id()?;
        let name = match self.names.reserve(names::of_pod(&config.metadata), &id) {
            Err(Error::NameTaken { holder, .. }) if self.is_ready_as(&holder, &config) => return Ok(holder),
            reserved => reserved?,
        };
        let cgroup = self.config.cgroup_driver.pod(&config.cgroup_parent, &self.config.cgroup_root, &id);
        let pod = Arc::new(Pod {
            cgroup: cgroup.map_err(|source| Error::Cgroup {
                operation: "name",
                path: config.cgroup_parent.clone(),
                source: Arc::new(source),
            })?,
            selinux_level: self.take_level()?,
            dir: self.pod_dir(&id),
            config: Arc::new(config),
            created_at: Timestamp::now(),
            id: id.clone(),
            gate: RwLock::default(),
            cpu_rate: CpuRate::default(),
            was_ready: false,
            live: Mutex::default(),
            members: Mutex::default(),
        });

        let mut rollback = Rollback::default();
        let (engine, level) = (Arc::clone(&self), pod.selinux_level.clone());
        rollback.push("give back the level", move || {
            engine.release_level(&level);
            std::future::ready(Ok(()))
        });
        match self.make_pod(&pod, &mut rollback).await {
            Ok(()) => {
                name.keep();
                self.pods.insert(&id, Arc::clone(&pod));
                self.watch_pod(&pod);
                self.tell_of_pod(&pod, EventKind::Created);
                self.tell_of_pod(&pod, EventKind::Started);
                Ok(id)
            }
            Err(error) => {
                rollback.run().await;
                Err(error)
            }
        }
    }

    /// Whether a pod is ready that is made from exactly that: who asks for it once more has not heard the answer.
    fn is_ready_as(&self, id: &Id, config: &PodConfig) -> bool {
        self.pods.get(id).is_some_and(|pod| pod.is_ready() && *pod.config == *config)
    }

    async fn make_pod(self: &Arc<Self>, pod: &Arc<Pod>, rollback: &mut Rollback) -> Result<(), Error> {
        let mut plan = runtime::plan::pod(&pod.id, &pod.dir, &pod.config, &self.parts.host).map_err(|source| {
            Error::Plan { object: format!("pod {:?}", pod.config.metadata.name), source: Arc::new(source) }
        })?;
        plan.cgroup = plan.shared_pid.then(|| self.config.cgroup_driver.container(&pod.cgroup, &pod.id));

        let dir = pod.dir.clone();
        rollback.push("remove the pod's directory", move || {
            let dir = dir.clone();
            blocking(move || remove_dir(&dir))
        });
        make_dirs(&pod.dir, &pod.config.log_directory)?;
        fault::point("pod.run.directory");

        let monitor = self
            .parts
            .spawner
            .pod(&plan)
            .await
            .map_err(|source| Error::monitor("create namespaces of", format!("pod {}", pod.id), source))?;
        fault::point("pod.run.monitor");
        let shutdown = Arc::clone(&monitor);
        let (engine, gone) = (Arc::clone(self), Arc::clone(pod));
        rollback.push("end the monitor", move || {
            let (engine, gone, shutdown) = (Arc::clone(&engine), Arc::clone(&gone), Arc::clone(&shutdown));
            async move {
                engine.end_monitor(&gone, Contact::Monitor(shutdown)).await;
                Ok(())
            }
        });

        let ips = self.attach_network(pod, rollback).await?;
        fault::point("pod.run.network");
        super::files::write(pod, &ips)?;
        fault::point("pod.run.files");
        self.record_ready(pod, monitor, ips).await
    }

    async fn attach_network(self: &Arc<Self>, pod: &Arc<Pod>, rollback: &mut Rollback) -> Result<Vec<IpAddr>, Error> {
        if !pod.has_own_network() {
            return Ok(Vec::new());
        }
        let (engine, detached) = (Arc::clone(self), Arc::clone(pod));
        rollback.push("detach the network", move || {
            let (engine, detached) = (Arc::clone(&engine), Arc::clone(&detached));
            async move { engine.detach_network(&detached).await }
        });
        let attachment = self
            .parts
            .network
            .attach(&pod.id, &pod.netns(), &pod.config)
            .await
            .map_err(|source| Error::Network { operation: "set up", pod: pod.id.clone(), source: Arc::new(source) })?;
        Ok(attachment.ips)
    }

    /// The last step: from here on the pod is there.
    async fn record_ready(&self, pod: &Pod, monitor: Arc<Monitor>, ips: Vec<IpAddr>) -> Result<(), Error> {
        pod.set_ready(monitor, ips);
        let saved = self.save_pod(pod).await;
        fault::point("pod.run.record");
        if saved.is_err() {
            pod.set_not_ready();
        }
        saved
    }

    fn check_handler(&self, handler: &str) -> Result<(), Error> {
        if handler.is_empty() || self.config.handlers.iter().any(|known| known == handler) {
            return Ok(());
        }
        Err(Error::Invalid { what: "runtime_handler", why: format!("no handler is named {handler:?}") })
    }
}

/// Two requests are the same when they ask for the same pod in every detail.
fn request_key(config: &PodConfig) -> String {
    let text = serde_json::to_vec(config).unwrap_or_default();
    format!("{} {}", names::of_pod(&config.metadata), Digest::of(&text))
}

/// A few directories in memory and one for logs: not worth a thread change.
fn make_dirs(dir: &Path, log_directory: &str) -> Result<(), Error> {
    fs::create_dir_all(dir).map_err(|source| Error::file("create", dir, source))?;
    if !log_directory.is_empty() {
        fs::create_dir_all(log_directory).map_err(|source| Error::file("create", log_directory, source))?;
    }
    Ok(())
}

/// Unpins what is pinned below a pod's directory and removes it; no error when it is not there.
pub(in crate::engine) fn remove_dir(dir: &Path) -> Result<(), Error> {
    launch::unpin(dir).map_err(|source| Error::Unpin { dir: dir.to_owned(), source })?;
    match fs::remove_dir_all(dir) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(Error::file("remove", dir, source)),
        _ => Ok(()),
    }
}
