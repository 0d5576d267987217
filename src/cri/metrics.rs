//! The door's instruments; the daemon registers them.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use tonic::Code;

/// Upper bounds of the classes of durations, s: from a list out of memory to a long pull.
const DURATIONS: [f64; 12] = [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.0, 10.0, 60.0];

/// Counts of RPCs.
#[derive(Debug)]
pub struct Metrics {
    requests: Family<Outcome, Counter>,
    durations: Family<Name, Histogram>,
    /// RPCs that have begun and not ended.
    pub(super) in_flight: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    rpc: String,
    code: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Name {
    rpc: String,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(DURATIONS)),
            in_flight: Gauge::default(),
        }
    }
}

impl Metrics {
    /// Makes the instruments known under the names that the metrics endpoint shows.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("requests", "RPCs that have ended, by gRPC code", self.requests.clone());
        registry.register_with_unit(
            "request_duration",
            "How long RPCs took until their answer began",
            Unit::Seconds,
            self.durations.clone(),
        );
        registry.register("requests_in_flight", "RPCs that are being worked on", self.in_flight.clone());
    }

    pub(super) fn observe(&self, rpc: &str, code: Code, duration: Duration) {
        self.requests.get_or_create(&Outcome { rpc: rpc.to_owned(), code: format!("{code:?}") }).inc();
        self.durations.get_or_create(&Name { rpc: rpc.to_owned() }).observe(duration.as_secs_f64());
    }
}
