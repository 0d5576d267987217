//! Hooks of a container's devices, as far as the daemon runs them: when the program runs, and when all is over.

use std::{io, sync::Arc};

use super::Container;
use crate::{
    engine::Error,
    runtime::{
        LaunchError,
        hooks::{Hooks, Phase},
        plan::ContainerPlan,
    },
    task::blocking,
};

/// Makes what the hooks of a container find it by, before its launch.
pub(super) async fn prepare(container: &Container, plan: &ContainerPlan) -> Result<(), Error> {
    let Some(hooks) = plan.hooks.clone() else { return Ok(()) };
    let (plan, pod, directory) = (plan.clone(), Arc::clone(&container.pod), hooks.root());
    let made = blocking(move || hooks.make_bundle(&plan, &pod.config, &pod.dir)).await;
    made.map_err(|source| Error::file("make", directory, source))
}

/// Runs the hooks for a container whose program runs. What goes wrong is logged: the program runs all the same.
pub(super) async fn started(container: &Container, pid: i32) {
    let Some(hooks) = of(container).filter(|hooks| hooks.has(&[Phase::Poststart])) else { return };
    log(container, blocking(move || hooks.run_all(Phase::Poststart, Some(pid))).await);
}

/// Runs the hooks for a container that is removed or whose pod is stopped, if its launch was begun, and removes what they
/// find it by, so that this is done once. What goes wrong is logged: the container goes all the same.
pub(in crate::engine) async fn finished(container: &Container) {
    let Some(hooks) = of(container) else { return };
    let (failures, removed) = blocking(move || {
        let failures = if hooks.has_bundle() { hooks.run_all(Phase::Poststop, None) } else { Vec::new() };
        (failures, hooks.remove_bundle())
    })
    .await;
    log(container, failures);
    if let Err(error) = removed {
        warn_of_bundle(container, &error);
    }
}

fn of(container: &Container) -> Option<Hooks> {
    Hooks::new(&container.id, &container.pod.dir, &container.config.annotations, &container.cdi.hooks)
}

fn log(container: &Container, failures: Vec<LaunchError>) {
    for error in failures {
        tracing::warn!(container = %container.id, %error, "a hook failed");
    }
}

fn warn_of_bundle(container: &Container, error: &io::Error) {
    tracing::warn!(container = %container.id, %error, "the bundle of hooks is left until the pod is removed");
}
