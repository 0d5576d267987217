//! Takes things away from the daemon and gives them back.

use crate::{
    actor::Actor,
    faults::Fault,
    relay::{Mood, Relay},
    support::{Shortage, SmallDisk},
};

/// How long a fault lasts at most, ms.
const LONGEST: u64 = 3000;
/// How long it is at most until the next one, ms.
const PAUSE: u64 = 4000;

/// Fills disks and takes descriptors away until the run is over.
pub(crate) async fn starve(mut actor: Actor<'_>, store: &SmallDisk, logs: &SmallDisk) {
    while !actor.world.is_over() {
        actor.pause(PAUSE).await;
        match actor.chance.u32(..3) {
            0 => fill(&mut actor, store, Fault::Store).await,
            1 => fill(&mut actor, logs, Fault::Logs).await,
            _ => take_descriptors(&mut actor).await,
        }
    }
}

async fn fill(actor: &mut Actor<'_>, disk: &SmallDisk, fault: Fault) {
    let by_files = actor.chance.u32(..3) == 0;
    begin(actor, fault, if by_files { " has no inodes" } else { " is full" });
    match by_files {
        true => disk.fill_with_files(),
        false => disk.fill(),
    }
    actor.pause(LONGEST).await;
    disk.empty();
    end(actor, fault);
}

async fn take_descriptors(actor: &mut Actor<'_>) {
    let shortage = {
        let daemon = actor.world.daemon().await;
        begin(actor, Fault::Descriptors, " are used up");
        Shortage::of_descriptors(&daemon)
    };
    actor.pause(LONGEST).await;
    drop(shortage);
    end(actor, Fault::Descriptors);
}

/// Has the registry misbehave until the run is over.
pub(crate) async fn spoil_registry(mut actor: Actor<'_>, relay: &Relay) {
    while !actor.world.is_over() {
        actor.pause(PAUSE).await;
        let mood = [Mood::Silent, Mood::Curt, Mood::Broken][actor.chance.usize(..3)];
        begin(&actor, Fault::Registry, &format!(" is {mood:?}"));
        relay.be(mood);
        actor.pause(LONGEST).await;
        relay.be(Mood::Sound);
        end(&actor, Fault::Registry);
    }
}

fn begin(actor: &Actor<'_>, fault: Fault, how: &str) {
    actor.say(&format!("{fault:?}{how}"));
    actor.world.faults.borrow_mut().begin(fault);
}

fn end(actor: &Actor<'_>, fault: Fault) {
    actor.say(&format!("{fault:?} as before"));
    let now = actor.world.age();
    actor.world.faults.borrow_mut().end(fault, now);
}
