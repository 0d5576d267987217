//! What monitors report: ends of containers and the end of the monitor itself.

use std::sync::{Arc, PoisonError};

use super::{
    Engine, EventKind,
    container::{Change, Container},
    pod::Pod,
};
use crate::{
    fault,
    monitor::client::{Event, Monitor},
    types::ExitStatus,
};

impl Engine {
    /// Follows a pod's monitor for as long as there is one.
    pub(super) fn watch_pod(self: &Arc<Self>, pod: &Arc<Pod>) {
        let (engine, pod) = (Arc::clone(self), Arc::clone(pod));
        // Not among `tasks`: it goes on for as long as the pod does and has nothing to finish.
        tokio::spawn(async move {
            while pod.is_ready() {
                let is_there = match pod.monitor() {
                    Ok(monitor) => {
                        engine.follow(&pod, &monitor).await;
                        drop(monitor);
                        pod.is_ready() && engine.reconnect(&pod).await
                    }
                    Err(_) => engine.tend_estranged(&pod).await,
                };
                if !is_there {
                    return engine.lose_monitor(&pod).await;
                }
            }
        });
    }

    /// Takes in what a monitor says until its connection ends.
    async fn follow(self: &Arc<Self>, pod: &Arc<Pod>, monitor: &Monitor) {
        let mut events = monitor.events();
        while let Some(event) = events.recv().await {
            match event {
                Event::Exited { container, status } => {
                    if let Some(container) = self.containers.get(&container) {
                        self.record_exit(&container, status).await;
                    }
                }
                // With a pod that is being stopped this is as it should be.
                Event::InitExited { .. } if !pod.is_ready() => {}
                Event::InitExited { status } => {
                    tracing::error!(pod = %pod.id, code = status.code, "the init of the pod's PID namespace has ended");
                    let (engine, id) = (Arc::clone(self), pod.id.clone());
                    self.tasks.spawn(async move { engine.stop_pod(id.as_str()).await });
                }
                Event::Gone => return,
            }
        }
    }

    /// Takes note of a container's start or end and tells of it; `false` when it changes nothing. An end that is heard of
    /// before the answer to the start is told after that.
    pub(super) fn note(&self, container: &Container, change: Change) -> bool {
        let _order = container.telling.lock().unwrap_or_else(PoisonError::into_inner);
        let before = container.phase();
        let has_changed = container.change(change);
        let after = container.phase();
        let end_is_told = before.is_over() && !before.awaits_start();
        if before.started_at().is_none() && after.started_at().is_some() && !end_is_told {
            self.tell_of_container(container, EventKind::Started);
        }
        let start_will_come = has_changed && after.awaits_start();
        if after.is_over() && !end_is_told && !start_will_come {
            self.tell_of_container(container, EventKind::Stopped);
        }
        has_changed
    }

    /// Takes note of a container's end. Its monitor keeps the record too, until this one is durable.
    pub(super) async fn record_exit(self: &Arc<Self>, container: &Arc<Container>, status: ExitStatus) {
        if !self.note(container, Change::Ended(status)) {
            return;
        }
        fault::point("container.exit.seen");
        self.keep_container(container).await;
    }
}
