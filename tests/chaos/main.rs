//! The real daemon under load, while it, its monitors and its containers are killed at random instants, clients hang
//! up, and room, descriptors and the registry are taken away for a while: whatever was answered stays true, what is
//! refused is refused for that reason and works again without a restart, and nothing is left in the end.
//!
//! A run is given by `BERTH_CHAOS_SEED`, `BERTH_CHAOS_SECONDS` and `BERTH_CHAOS_KILLS`; `hack/chaos` sets them. The seed
//! decides what each actor does and when the killer and the saboteurs strike. How far the daemon is by then is up to the
//! machine, so the same seed makes the same kind of run, not the same run.

#![expect(clippy::print_stdout, reason = "the steps are shown when a run fails")]

#[path = "../it/support/mod.rs"]
#[macro_use]
#[expect(dead_code, unused_imports, reason = "other tests need more of it")]
mod support;

mod actor;
mod container;
mod count_log;
mod deeds;
mod faults;
mod image_life;
mod killer;
mod pictures;
mod pod_life;
mod program;
mod promises;
mod relay;
mod saboteur;
mod sessions;
mod store_kills;
mod traces;
mod transfer;
mod witness;
mod world;

use std::time::Duration;

use futures_util::future::{LocalBoxFuture, join_all};

use crate::{
    actor::Actor,
    pictures::Pictures,
    support::{Daemon, SmallDisk, footprint::Footprint, own_mounts, setting},
    witness::Witness,
    world::World,
};

/// Pods that live at the same time.
const PODS: u64 = 6;
/// Actors that pull, push, save and remove images.
const IMAGE_LIVES: u64 = 2;

/// Disks that have room for a run, but can be filled.
const STORE: &str = "size=128m,nr_inodes=12000";
const LOGS: &str = "size=64m,nr_inodes=20000";

#[tokio::test]
async fn what_was_answered_stays_true_whatever_dies() {
    requires!(Root, DockerRegistry);
    let seed = setting("BERTH_CHAOS_SEED", 1);
    let seconds = setting("BERTH_CHAOS_SECONDS", 25);
    // Shown when the test fails.
    println!("seed {seed}, {seconds} seconds");
    own_mounts();
    let mut daemon = Daemon::start_with(network(seed)).await;
    daemon.terminate().await;
    let store = SmallDisk::mount(daemon.path("root"), STORE);
    let logs = SmallDisk::mount(daemon.path("logs"), LOGS);
    daemon.start_again().await;
    let pictures = Pictures::bring(&["shared-0", "shared-1", "own-0", "own-1", "own-2", "own-3"]).await;
    let before = Footprint::of(&daemon);
    let world = World::new(daemon, Duration::from_secs(seconds));

    let mut lives: Vec<LocalBoxFuture<'_, ()>> = Vec::new();
    for number in 0..PODS {
        let actor = Actor::new(&world, format!("pod-{number}"), seed, number);
        lives.push(Box::pin(pod_life::live(actor, number, &pictures)));
    }
    for number in 0..IMAGE_LIVES {
        let actor = Actor::new(&world, format!("image-{number}"), seed, 100 + number);
        lives.push(Box::pin(image_life::live(actor, number, &pictures)));
    }
    lives.push(Box::pin(image_life::observe(Actor::new(&world, "observer".into(), seed, 200))));
    lives.push(Box::pin(killer::kill(Actor::new(&world, "killer".into(), seed, 300))));
    lives.push(Box::pin(saboteur::starve(Actor::new(&world, "starver".into(), seed, 400), &store, &logs)));
    let spoiler = Actor::new(&world, "spoiler".into(), seed, 401);
    lives.push(Box::pin(saboteur::spoil_registry(spoiler, &pictures.relay)));
    let mut witness = Witness::new(Actor::new(&world, "witness".into(), seed, 500));
    tokio::select! {
        _ = join_all(lives) => {}
        never = witness.listen() => match never {},
    }
    witness.finish().await;

    println!("{}", world.tally());
    let mut daemon = world.into_daemon();
    pictures.remove_all(&daemon).await;
    traces::expect_no_more(&daemon, &before).await;
    // The disks go before the daemon's guard looks for mounts.
    daemon.terminate().await;
    drop((store, logs));
}

/// The network of a run: some have a bridge.
fn network(seed: u64) -> &'static str {
    if seed.is_multiple_of(3) { "[network]\ndriver = \"bridge\"\n" } else { "" }
}

#[tokio::test]
async fn a_kill_in_the_middle_of_pulls_and_removals_leaves_a_whole_store() {
    requires!(Root, DockerRegistry);
    let seed = setting("BERTH_CHAOS_SEED", 1);
    let kills = setting("BERTH_CHAOS_KILLS", 20);
    println!("seed {seed}, {kills} kills");
    store_kills::run(seed, kills).await;
}
