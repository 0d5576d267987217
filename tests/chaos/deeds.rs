//! What is done with a running container.

use std::{process::Stdio, time::Duration};

use berth::wire::{
    ContainerStatsRequest, LinuxContainerResources, ReopenContainerLogRequest, UpdateContainerResourcesRequest,
};
use tonic::Code;

use crate::{actor::Actor, container::Container, sessions, support::Daemon};

/// Does something with it that does not end it.
pub(crate) async fn do_something(actor: &mut Actor<'_>, container: &mut Container) {
    match actor.chance.u32(..10) {
        0 => read_name(actor, container).await,
        1 => let_probe_time_out(actor, container).await,
        2 => ask_for_statistics(actor, container).await,
        3 => update(actor, container).await,
        4 => rotate_log(actor, container).await,
        5 => run_client(actor, container, &["exec", &container.id, "echo", "word"], "word\n").await,
        6 => run_client(actor, container, &["attach", &container.id], "").await,
        7..=8 => sessions::converse(actor, container).await,
        _ => actor.pause(500).await,
    }
}

/// The content of its image and its volume is whole, also when the images themselves have been removed.
async fn read_name(actor: &mut Actor<'_>, container: &Container) {
    let names = ["cat", "/name", "/volume/name"];
    let names = if container.volume.is_some() { &names[..] } else { &names[..2] };
    let says = format!("{}{}", container.image, container.volume.as_deref().unwrap_or_default());
    let read = async |daemon: &Daemon| daemon.try_exec(&container.id, names, 60).await;
    match actor.call(&format!("exec cat in {}", container.id), read).await {
        // Killed with its container.
        Ok(answer) if answer.exit_code == 137 => expect_an_end(actor, container, &"killed"),
        Ok(answer) => {
            let is_right = answer.exit_code == 0 && answer.stdout == says.as_bytes();
            actor.expect(is_right, || format!("{says} is not what was read: {answer:?}"));
        }
        Err(status) => expect_an_end(actor, container, &status),
    }
}

async fn let_probe_time_out(actor: &mut Actor<'_>, container: &Container) {
    let probe = async |daemon: &Daemon| daemon.try_exec(&container.id, &["sleep", "100"], 1).await;
    match actor.call(&format!("exec sleep in {}", container.id), probe).await {
        Err(status) if status.code() == Code::DeadlineExceeded => {}
        answer => expect_an_end(actor, container, &answer),
    }
}

async fn ask_for_statistics(actor: &mut Actor<'_>, container: &Container) {
    let request = ContainerStatsRequest { container_id: container.id.clone() };
    let ask = async |daemon: &Daemon| daemon.runtime().container_stats(request.clone()).await;
    let answer = actor.call(&format!("statistics of {}", container.id), ask).await;
    if let Err(status) = answer {
        expect_an_end(actor, container, &status);
    }
}

async fn update(actor: &mut Actor<'_>, container: &mut Container) {
    let memory = actor.chance.i64(64..512) << 20;
    let linux = LinuxContainerResources { memory_limit_in_bytes: memory, ..Default::default() };
    let request = UpdateContainerResourcesRequest {
        container_id: container.id.clone(),
        linux: Some(linux),
        ..Default::default()
    };
    let update = async |daemon: &Daemon| daemon.runtime().update_container_resources(request.clone()).await;
    container.memory = 0;
    match actor.call(&format!("update {} to {memory}", container.id), update).await {
        Ok(_) => container.memory = memory,
        Err(status) => expect_an_end(actor, container, &status),
    }
}

/// As kubelet does it: renamed, then opened anew.
async fn rotate_log(actor: &mut Actor<'_>, container: &mut Container) {
    let present = container.logs.last().expect("a log").clone();
    let old = present.with_extension(format!("log.{}", container.logs.len()));
    if std::fs::rename(&present, &old).is_err() {
        return expect_an_end(actor, container, &"no log");
    }
    container.logs.insert(container.logs.len() - 1, old);
    let request = ReopenContainerLogRequest { container_id: container.id.clone() };
    let reopen = async |daemon: &Daemon| daemon.runtime().reopen_container_log(request.clone()).await;
    if let Err(status) = actor.call(&format!("reopen the log of {}", container.id), reopen).await {
        expect_an_end(actor, container, &status);
    }
}

/// Runs a client that is killed after a while; one that comes to its end shows what it must.
async fn run_client(actor: &mut Actor<'_>, container: &Container, arguments: &[&str], shows: &str) {
    actor.say(&format!("berth {arguments:?}"));
    let limit = Duration::from_millis(actor.chance.u64(..3000));
    let (deaths, begun) = (actor.world.deaths(), actor.world.age());
    let daemon = actor.world.daemon().await;
    let mut command = tokio::process::Command::from(daemon.cli(arguments));
    command.stdin(Stdio::null()).kill_on_drop(true);
    let Ok(output) = tokio::time::timeout(limit, command.output()).await else { return };
    let output = output.expect("run berth");
    drop(daemon);
    let is_right = output.status.success() && output.stdout.starts_with(shows.as_bytes());
    let lacked = actor.world.faults.borrow().any_after(begun);
    if !is_right && !lacked && actor.world.deaths() == deaths {
        expect_an_end(actor, container, &output);
    }
}

/// A call has failed: there must be a reason.
fn expect_an_end(actor: &Actor<'_>, container: &Container, answer: &dyn std::fmt::Debug) {
    actor.expect(container.may_have_ended(actor), || format!("{answer:?}, but {container:#?}"));
}
