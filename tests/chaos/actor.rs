//! Somebody who makes calls, again and again until they are answered.

use std::time::Duration;

use tonic::Status;

use crate::{
    support::{Daemon, patience},
    world::World,
};

/// After so long without an answer from a daemon that lives, something is stuck.
const LONGEST: u64 = 60;
/// One call of so many is given up before its answer.
const HANG_UPS: u32 = 15;
/// How long until a call is made again that was refused for want of something.
const AGAIN: Duration = Duration::from_millis(50);

/// A client of the daemon with chances of its own.
pub(crate) struct Actor<'a> {
    pub(crate) world: &'a World,
    pub(crate) name: String,
    pub(crate) chance: fastrand::Rng,
    /// How many calls it has made.
    steps: u32,
    /// Whether the last call was made more than once: an earlier attempt may have done it.
    pub(crate) repeated: bool,
}

impl<'a> Actor<'a> {
    /// What it does depends on the run's seed and its own number only.
    pub(crate) fn new(world: &'a World, name: String, seed: u64, number: u64) -> Self {
        let chance = fastrand::Rng::with_seed(seed.wrapping_mul(1_000_003).wrapping_add(number));
        Self { world, name, chance, steps: 0, repeated: false }
    }

    /// Shown when the test fails.
    pub(crate) fn say(&self, what: &str) {
        println!("{:8.3} {} step {}: {what}", self.world.age().as_secs_f64(), self.name, self.steps);
    }

    /// Makes a call until a daemon answers that has not been killed meanwhile and has all that it needs. Now and then
    /// it hangs up on a call and makes it again. What the daemon refuses for other reasons is an answer.
    pub(crate) async fn call<T>(
        &mut self,
        what: &str,
        call: impl AsyncFn(&Daemon) -> Result<T, Status>,
    ) -> Result<T, Status> {
        self.steps += 1;
        self.repeated = false;
        let mut is_refused = false;
        self.say(what);
        loop {
            let daemon = self.world.daemon().await;
            let (deaths, begun) = (self.world.deaths(), self.world.age());
            let hangs_up = self.chance.u32(..HANG_UPS) == 0;
            let limit = match hangs_up {
                true => Duration::from_millis(self.chance.u64(..40)),
                false => patience(LONGEST),
            };
            let answer = tokio::time::timeout(limit, call(&daemon)).await;
            drop(daemon);
            match answer {
                Ok(Err(_)) if self.world.deaths() != deaths => {}
                Ok(Err(status)) if self.world.faults.borrow_mut().explain(&status, begun) => {
                    if !is_refused {
                        self.say(&format!("{what}: not now: {}", status.message()));
                    }
                    is_refused = true;
                    tokio::time::sleep(AGAIN).await;
                }
                Ok(answer) => {
                    if let Err(status) = &answer {
                        self.say(&format!("{what}: refused: {:?} {}", status.code(), status.message()));
                    }
                    return answer;
                }
                Err(_) => assert!(hangs_up, "{} step {}: {what} is not answered", self.name, self.steps),
            }
            self.repeated = true;
        }
    }

    /// A call that must not be refused.
    pub(crate) async fn insist<T>(&mut self, what: &str, call: impl AsyncFn(&Daemon) -> Result<T, Status>) -> T {
        let answer = self.call(what, call).await;
        answer.unwrap_or_else(|status| panic!("{} step {}: {what}: {status:?}", self.name, self.steps))
    }

    /// Fails the run.
    #[track_caller]
    pub(crate) fn expect(&self, is_so: bool, what: impl FnOnce() -> String) {
        assert!(is_so, "{:.3} {} step {}: {}", self.world.age().as_secs_f64(), self.name, self.steps, what());
    }

    /// Waits a random while, at most so many milliseconds.
    pub(crate) async fn pause(&mut self, most: u64) {
        let pause = Duration::from_millis(self.chance.u64(..most));
        tokio::time::sleep(pause).await;
    }
}
