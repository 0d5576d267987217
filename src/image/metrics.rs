//! The room's instruments; the daemon registers them.

use std::time::Duration;

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::{Registry, Unit},
};

/// Upper bounds of the classes of durations, s: from an image that is there already to a large one over a slow line.
const DURATIONS: [f64; 9] = [0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0, 600.0];

/// Counts of pulls. Equal pulls at the same time are one.
#[derive(Debug)]
pub struct Metrics {
    pulls: Family<Ended, Counter>,
    duration: Histogram,
    bytes: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelValue)]
enum Outcome {
    Success,
    Failure,
}

impl Default for Metrics {
    fn default() -> Self {
        Self { pulls: Family::default(), duration: Histogram::new(DURATIONS), bytes: Counter::default() }
    }
}

impl Metrics {
    /// Makes the instruments known under the names that the metrics endpoint shows.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("pulls", "Pulls that have ended", self.pulls.clone());
        registry.register_with_unit(
            "pull_duration",
            "How long successful pulls took",
            Unit::Seconds,
            self.duration.clone(),
        );
        registry.register_with_unit("pulled", "Bytes that came from registries", Unit::Bytes, self.bytes.clone());
    }

    /// Takes note of bytes that came.
    pub(super) fn received(&self, bytes: usize) {
        self.bytes.inc_by(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    /// Takes note of a pull's end.
    pub(super) fn ended(&self, is_success: bool, duration: Duration) {
        let outcome = if is_success { Outcome::Success } else { Outcome::Failure };
        self.pulls.get_or_create(&Ended { outcome }).inc();
        if is_success {
            self.duration.observe(duration.as_secs_f64());
        }
    }
}
