//! StartContainer: planned anew with what holds now, launched by the pod's monitor.

use std::sync::Arc;

use super::{Change, Container, Phase, hooks};
use crate::{
    engine::{Engine, Error, pod::monitor::record_end},
    error::chain,
    fault,
    monitor::client::{ContainerIo, Started},
    runtime::plan::{self, ContainerPlan, ContainerRequest},
    task::blocking,
    types::{ContainerConfig, ExitStatus, NamespaceMode, Timestamp},
};

impl Engine {
    /// Starts a created container and answers once its program was executed.
    ///
    /// # Errors
    /// `FailedPrecondition` when it is not in state created or its pod is not ready. When launching fails the
    /// container is `Exited` with code 128 and reason `StartError`, and the error says which step failed.
    pub async fn start_container(self: &Arc<Self>, id: &str) -> Result<(), Error> {
        let container = self.find_container(id)?;
        let engine = Arc::clone(self);
        let starting = self.tasks.spawn(async move { engine.start_found_container(&container).await });
        starting.await.unwrap_or(Err(Error::Panicked("starting a container")))
    }

    async fn start_found_container(self: &Arc<Self>, container: &Arc<Container>) -> Result<(), Error> {
        let pod = Arc::clone(&container.pod);
        let _shared = pod.gate.read().await;
        let _gate = container.gate.lock().await;
        if container.is_removing() {
            return Err(Error::Removing(container.id.clone()));
        }
        let phase = container.phase();
        if phase != Phase::Created {
            return Err(Error::WrongState { container: container.id.clone(), state: phase.name(), needed: "created" });
        }
        fault::point("container.start.begun");
        match self.launch(container).await {
            Ok(started) => {
                fault::point("container.start.launched");
                self.note(container, Change::Started { pid: started.pid, at: started.at, user: started.user });
                self.save_soon(container);
                hooks::started(container, started.pid).await;
                Ok(())
            }
            Err(error) => {
                let status = ExitStatus::start_error(chain(&error), Timestamp::now());
                record_end(container, &status);
                self.note(container, Change::Ended(status));
                self.save_soon(container);
                // The monitor has removed it, unless something in it does not die.
                self.remove_cgroup(&container.cgroup).await;
                Err(error)
            }
        }
    }

    async fn launch(&self, container: &Container) -> Result<Started, Error> {
        let monitor = container.pod.monitor()?;
        let plan = self.plan(container)?;
        hooks::prepare(container, &plan).await?;
        let io = ContainerIo {
            log: container.log_path.clone(),
            stdin: container.config.stdin,
            stdin_once: container.config.stdin_once,
        };
        let failed = |operation| move |source| Error::monitor(operation, format!("container {}", container.id), source);
        let Some(origin) = container.checkpoint.clone() else {
            return monitor.start(&plan, io).await.map_err(failed("start"));
        };
        let from = origin.restore().map_err(|source| Error::checkpoint(&container.id, source))?;
        let started = monitor.restore(&plan, io, from).await.map_err(failed("restore"))?;
        blocking(move || origin.discard()).await;
        Ok(started)
    }

    /// What the executor is to do for a container, by its configuration and its present limits.
    pub(in crate::engine) fn plan(&self, container: &Container) -> Result<ContainerPlan, Error> {
        let config = ContainerConfig { resources: container.resources(), ..ContainerConfig::clone(&container.config) };
        let request = ContainerRequest {
            id: &container.id,
            pod_id: &container.pod_id,
            pod: &container.pod.config,
            config: &config,
            image: &container.defaults,
            rootfs: container.rootfs.clone(),
            pod_dir: &container.pod.dir,
            image_mounts: container.image_mounts.clone(),
            cdi: &container.cdi,
            cgroup: container.cgroup.clone(),
            target_pid: self.target_pid(container)?,
            selinux_level: &container.pod.selinux_level,
            host: &self.parts.host,
        };
        plan::container(&request)
            .map_err(|source| Error::Plan { object: format!("container {}", container.id), source: Arc::new(source) })
    }

    /// The process whose PID namespace a container joins, when it names another container as its target.
    fn target_pid(&self, container: &Container) -> Result<Option<i32>, Error> {
        let namespaces = &container.config.security.namespaces;
        if namespaces.pid != NamespaceMode::Target {
            return Ok(None);
        }
        let invalid = |why: String| Error::Invalid { what: "target_id", why };
        let target = self.find_container(&namespaces.target_id).map_err(|error| invalid(chain(&error)))?;
        if target.pod_id != container.pod_id {
            return Err(invalid(format!("container {} is in another pod", target.id)));
        }
        match target.phase().pid() {
            Some(pid) => Ok(Some(pid)),
            None => Err(invalid(format!("container {} is not running", target.id))),
        }
    }

    /// Writes a container down without making the caller wait: until then its monitor holds the truth.
    pub(in crate::engine) fn save_soon(self: &Arc<Self>, container: &Arc<Container>) {
        let (engine, container) = (Arc::clone(self), Arc::clone(container));
        self.tasks.spawn(async move { engine.keep_container(&container).await });
    }
}
