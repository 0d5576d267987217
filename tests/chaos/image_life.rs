//! What happens to images beside the pods that use them, and those who only look on.

use std::collections::HashSet;

use crate::{
    actor::Actor,
    container::is_process_of,
    pictures::{Pictures, is_there, list, pull, remove},
    support::{Daemon, Registry},
    transfer::{push, save},
};
use berth::wire::{
    ImageFsInfoRequest, ListContainerStatsRequest, ListMetricDescriptorsRequest, ListPodSandboxMetricsRequest,
    ListPodSandboxStatsRequest, StatusRequest,
};

/// Pulls, pushes, saves and removes two images that are nobody else's, and removes those that pods use.
pub(crate) async fn live(mut actor: Actor<'_>, number: u64, pictures: &Pictures) {
    let own: Vec<&String> = pictures.names.iter().filter(|name| is_own(name, number)).collect();
    let shared: Vec<&String> = pictures.names.iter().filter(|name| name.contains("/shared-")).collect();
    let mut there = vec![false; own.len()];
    while !actor.world.is_over() {
        actor.pause(300).await;
        let choice = actor.chance.usize(..own.len());
        let name = own[choice].as_str();
        match actor.chance.u32(..10) {
            0..=3 if !there[choice] => {
                actor.insist(&format!("pull {name}"), async |daemon| pull(daemon, name).await).await;
                there[choice] = true;
            }
            0..=1 => {
                actor.insist(&format!("remove {name}"), async |daemon| remove(daemon, name).await).await;
                there[choice] = false;
            }
            2..=3 => {
                let destination = format!("{}/copy/{number}-{choice}:1", Registry::ADDRESS);
                actor.insist(&format!("push {name}"), async |daemon| push(daemon, name, &destination).await).await;
            }
            4 if there[choice] => {
                let length = actor.insist(&format!("save {name}"), async |daemon| save(daemon, name).await).await;
                actor.expect(length > 500_000, || format!("an archive of {length} bytes"));
            }
            5 => {
                let name = shared[actor.chance.usize(..shared.len())];
                actor.insist(&format!("remove {name}"), async |daemon| remove(daemon, name).await).await;
            }
            _ => {
                let images = actor.insist("list images", list).await;
                for (name, there) in own.iter().zip(&there) {
                    let is_listed = images.iter().any(|image| image.repo_tags.contains(name));
                    actor.expect(is_listed == *there, || format!("{name} is listed: {is_listed}"));
                }
            }
        }
        let is_there = actor.insist("ask for an image", async |daemon| is_there(daemon, name).await).await;
        actor.expect(is_there == there[choice], || format!("{name} is there: {is_there}"));
    }
}

fn is_own(name: &str, number: u64) -> bool {
    let own = Pictures::says(name).strip_prefix("own-").and_then(|digit| digit.parse::<u64>().ok());
    own.is_some_and(|digit| digit / 2 == number)
}

/// No container is left out that goes on.
async fn measure_containers(actor: &mut Actor<'_>) {
    let going_on = |actor: &Actor<'_>| actor.world.promises.borrow().processes();
    let before = going_on(actor);
    let request = ListContainerStatsRequest::default();
    let ask = async |daemon: &Daemon| daemon.runtime().list_container_stats(request.clone()).await;
    let stats = actor.insist("statistics of containers", ask).await.into_inner().stats;
    let told: HashSet<String> = stats.into_iter().filter_map(|stats| Some(stats.attributes?.id)).collect();
    let after = going_on(actor);
    for (pid, container, _) in before.iter().filter(|process| after.contains(process)) {
        let lives = is_process_of(*pid, container);
        actor.expect(!lives || told.contains(container), || format!("{container} is not measured: {told:?}"));
    }
}

/// Asks for everything that can be asked for.
pub(crate) async fn observe(mut actor: Actor<'_>) {
    while !actor.world.is_over() {
        actor.pause(400).await;
        actor.insist("status", async |daemon| daemon.runtime().status(StatusRequest { verbose: true }).await).await;
        measure_containers(&mut actor).await;
        let request = ListPodSandboxStatsRequest::default();
        let stats = async |daemon: &Daemon| daemon.runtime().list_pod_sandbox_stats(request.clone()).await;
        actor.insist("statistics of pods", stats).await;
        let request = ListPodSandboxMetricsRequest {};
        let metrics = async |daemon: &Daemon| daemon.runtime().list_pod_sandbox_metrics(request).await;
        actor.insist("metrics", metrics).await;
        let request = ListMetricDescriptorsRequest {};
        let descriptors = async |daemon: &Daemon| daemon.runtime().list_metric_descriptors(request).await;
        actor.insist("metric descriptors", descriptors).await;
        let space = async |daemon: &Daemon| daemon.image().image_fs_info(ImageFsInfoRequest {}).await;
        actor.insist("space", space).await;
    }
}
