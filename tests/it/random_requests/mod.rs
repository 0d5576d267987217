//! Random requests, sensible and senseless, one after the other: the engine lives, answers each in its own words, and
//! what it lists is what it was told and what it says of each.
//!
//! `BERTH_FUZZ_SEED` picks another sequence, `BERTH_FUZZ_SECONDS` goes on with further ones for as long; see `hack/fuzz`.

mod disturb;
mod world;

use std::time::{Duration, Instant};

use world::World;

/// Requests in one sequence.
const LENGTH: usize = 250;
/// Requests between two looks at everything.
const BETWEEN: usize = 25;

fn number_from(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|text| text.parse().ok())
}

#[tokio::test]
async fn nothing_that_is_asked_for_upsets_the_engine() {
    requires!(Root);
    let first = number_from("BERTH_FUZZ_SEED").unwrap_or(1);
    let time = Duration::from_secs(number_from("BERTH_FUZZ_SECONDS").unwrap_or(0));
    let started = Instant::now();
    for seed in first.. {
        // Shown when the test fails.
        println!("sequence {seed}");
        let mut world = World::new(seed).await;
        for step in 1..=LENGTH {
            world.step().await;
            if step % BETWEEN == 0 {
                world.check().await;
            }
        }
        world.end().await;
        if started.elapsed() >= time {
            break;
        }
    }
}
