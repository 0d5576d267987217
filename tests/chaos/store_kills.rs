//! The daemon killed again and again while it pulls and removes images.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures_util::future::{join, join_all};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    pictures::{Pictures, check_store, is_there, pull, remove},
    support::{Daemon, footprint::Footprint},
    traces::{expect_in_places, expect_no_more, in_places},
};

/// The longest time that a daemon is given, ms.
const LONGEST: u64 = 150;
/// Pulls and removals at once.
const AT_ONCE: usize = 4;

/// A store under attack.
struct Siege<'a> {
    daemon: Daemon,
    chance: fastrand::Rng,
    names: Vec<&'a str>,
    /// What each image has on disk.
    footprints: BTreeMap<&'a str, BTreeSet<String>>,
    /// Images that are there.
    there: BTreeSet<&'a str>,
    answered: u32,
    cut_off: u32,
}

/// Kills the daemon so many times, and looks at the store after each.
pub(crate) async fn run(seed: u64, kills: u64) {
    let daemon = Daemon::start().await;
    let pictures = Pictures::bring(&["a", "b", "c", "d", "e", "f"]).await;
    let before = Footprint::of(&daemon);
    let names: Vec<&str> = pictures.names.iter().map(String::as_str).collect();
    let chance = fastrand::Rng::with_seed(seed);
    let (footprints, there) = (BTreeMap::new(), BTreeSet::new());
    let mut siege = Siege { daemon, chance, names, footprints, there, answered: 0, cut_off: 0 };
    siege.take_footprints().await;
    for number in 1..=kills {
        println!("kill {number}");
        siege.strike().await;
        siege.inspect().await;
        siege.pull_next().await;
    }
    println!("{kills} kills: {} pulls and removals answered, {} cut off", siege.answered, siege.cut_off);
    pictures.remove_all(&siege.daemon).await;
    expect_no_more(&siege.daemon, &before).await;
}

impl Siege<'_> {
    /// Brings each image alone, and sees what it has on disk.
    async fn take_footprints(&mut self) {
        for name in &self.names {
            pull(&self.daemon, name).await.expect("pull");
            self.footprints.insert(name, in_places(&self.daemon));
            remove(&self.daemon, name).await.expect("remove");
            expect_in_places(&self.daemon, &BTreeSet::new()).await;
        }
    }

    /// Pulls what is not there and removes what is, several at once, and kills the daemon meanwhile.
    async fn strike(&mut self) {
        self.chance.shuffle(&mut self.names);
        let count = self.chance.usize(1..=AT_ONCE);
        let chosen = self.names[..count].to_vec();
        let patience = Duration::from_millis(self.chance.u64(..LONGEST));
        println!("{} ms for {chosen:?}, of which there are {:?}", patience.as_millis(), self.there);
        let (daemon, there) = (&self.daemon, &self.there);
        let deeds = join_all(chosen.iter().map(|name| async move {
            match there.contains(name) {
                true => remove(daemon, name).await,
                false => pull(daemon, name).await,
            }
        }));
        let strike = async {
            tokio::time::sleep(patience).await;
            kill(Pid::from_raw(daemon.pid()), Signal::SIGKILL).expect("kill the daemon");
        };
        let (outcomes, ()) = join(deeds, strike).await;
        self.daemon.kill();
        self.daemon.start_again().await;
        for (name, outcome) in chosen.into_iter().zip(outcomes) {
            let is_there = is_there(&self.daemon, name).await.expect("ask for an image");
            match outcome {
                Ok(()) => {
                    self.answered += 1;
                    assert_ne!(is_there, self.there.contains(name), "{name}: what was answered is not so");
                }
                Err(_) => self.cut_off += 1,
            }
            match is_there {
                true => self.there.insert(name),
                false => self.there.remove(name),
            };
        }
    }

    /// The store is whole, and has on disk what its images have, and nothing else.
    async fn inspect(&self) {
        check_store(&self.daemon).await;
        for name in &self.names {
            let is_there = is_there(&self.daemon, name).await.expect("ask for an image");
            assert_eq!(is_there, self.there.contains(name), "{name}");
        }
        let expected: BTreeSet<String> =
            self.there.iter().flat_map(|name| self.footprints[name].iter().cloned()).collect();
        expect_in_places(&self.daemon, &expected).await;
        assert!(self.daemon.leftovers().mounts.is_empty());
    }

    /// One that is not there comes when it is asked for.
    async fn pull_next(&mut self) {
        let Some(name) = self.names.iter().find(|name| !self.there.contains(*name)) else { return };
        pull(&self.daemon, name).await.expect("the next pull");
        assert!(is_there(&self.daemon, name).await.expect("ask for an image"));
        self.there.insert(name);
    }
}
