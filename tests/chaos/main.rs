//! The real daemon under load, while it, its monitors and its containers are killed at random instants and clients hang
//! up: whatever was answered stays true, and nothing is left in the end.
//!
//! A run is given by `BERTH_CHAOS_SEED`, `BERTH_CHAOS_SECONDS` and `BERTH_CHAOS_KILLS`; `hack/chaos` sets them. The seed
//! decides what each actor does and when the killer strikes. How far the daemon is by then is up to the machine, so the
//! same seed makes the same kind of run, not the same run.

#![expect(clippy::print_stdout, reason = "the steps are shown when a run fails")]

#[path = "../it/support/mod.rs"]
#[macro_use]
#[expect(dead_code, unused_imports, reason = "other tests need more of it")]
mod support;

mod actor;
mod container;
mod count_log;
mod deeds;
mod image_life;
mod killer;
mod pictures;
mod pod_life;
mod promises;
mod store_kills;
mod traces;
mod transfer;
mod world;

use std::time::Duration;

use futures_util::future::{LocalBoxFuture, join_all};

use crate::{
    actor::Actor,
    pictures::Pictures,
    support::{Daemon, setting},
    traces::Traces,
    world::World,
};

/// Pods that live at the same time.
const PODS: u64 = 6;
/// Actors that pull, push, save and remove images.
const IMAGE_LIVES: u64 = 2;

#[tokio::test]
async fn what_was_answered_stays_true_whatever_dies() {
    requires!(Root, DockerRegistry);
    let seed = setting("BERTH_CHAOS_SEED", 1);
    let seconds = setting("BERTH_CHAOS_SECONDS", 25);
    // Shown when the test fails.
    println!("seed {seed}, {seconds} seconds");
    let daemon = Daemon::start().await;
    let pictures = Pictures::bring(&["shared-0", "shared-1", "own-0", "own-1", "own-2", "own-3"]).await;
    let before = Traces::of(&daemon);
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
    join_all(lives).await;

    println!("{}", world.tally());
    let daemon = world.into_daemon();
    pictures.remove_all(&daemon).await;
    before.expect_no_more(&daemon).await;
}

#[tokio::test]
async fn a_kill_in_the_middle_of_pulls_and_removals_leaves_a_whole_store() {
    requires!(Root, DockerRegistry);
    let seed = setting("BERTH_CHAOS_SEED", 1);
    let kills = setting("BERTH_CHAOS_KILLS", 20);
    println!("seed {seed}, {kills} kills");
    store_kills::run(seed, kills).await;
}
