//! How fast CPU time is used: the kernel tells only how much has been.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::types::Timestamp;

/// A shorter stretch says more about the moment than about the load; the rate before it is told again. kubelet asks
/// every 10 s, and whenever somebody asks kubelet.
const SHORTEST: Duration = Duration::from_secs(5);

/// The last measure of one object's CPU time, and the rate that came of it.
#[derive(Debug, Default)]
pub(super) struct CpuRate(Mutex<Option<Sample>>);

#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Timestamp,
    used_ns: u64,
    rate: Option<u64>,
}

impl CpuRate {
    /// Takes a measure, `used_ns` in all, and tells the rate since the one before in billionths of a CPU; `None` with
    /// the first.
    pub(super) fn update(&self, at: Timestamp, used_ns: u64) -> Option<u64> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sample = match *last {
            Some(last) => last.followed_by(at, used_ns),
            None => Sample { at, used_ns, rate: None },
        };
        *last = Some(sample);
        sample.rate
    }
}

impl Sample {
    fn followed_by(self, at: Timestamp, used_ns: u64) -> Self {
        let passed = u128::try_from(at.0.saturating_sub(self.at.0)).ok();
        match (passed, used_ns.checked_sub(self.used_ns)) {
            (Some(passed), Some(_)) if passed < SHORTEST.as_nanos() => self,
            (Some(passed), Some(used)) => {
                let rate = u128::from(used) * Duration::from_secs(1).as_nanos() / passed;
                Self { at, used_ns, rate: u64::try_from(rate).ok() }
            }
            // The clock was set back, or the counter is another cgroup's.
            _ => Self { at, used_ns, rate: None },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: i64) -> Timestamp {
        Timestamp(seconds * 1_000_000_000)
    }

    #[test]
    fn the_rate_is_that_since_the_measure_before() {
        let rate = CpuRate::default();
        assert_eq!(rate.update(seconds(100), 5_000_000_000), None);
        assert_eq!(rate.update(seconds(110), 10_000_000_000), Some(500_000_000), "half a CPU");
        assert_eq!(rate.update(seconds(115), 20_000_000_000), Some(2_000_000_000), "two CPUs");
        assert_eq!(rate.update(seconds(120), 20_000_000_000), Some(0));
    }

    #[test]
    fn measures_in_quick_succession_do_not_disturb_it() {
        let rate = CpuRate::default();
        rate.update(seconds(100), 0);
        rate.update(seconds(110), 1_000_000_000);
        assert_eq!(rate.update(seconds(114), 2_000_000_000), Some(100_000_000));
        assert_eq!(rate.update(seconds(120), 3_000_000_000), Some(200_000_000), "since the last one that counted");
    }

    #[test]
    fn it_starts_anew_when_clock_or_counter_go_back() {
        let rate = CpuRate::default();
        rate.update(seconds(100), 9_000_000_000);
        assert_eq!(rate.update(seconds(110), 1_000_000_000), None);
        assert_eq!(rate.update(seconds(50), 2_000_000_000), None);
        assert_eq!(rate.update(seconds(60), 3_000_000_000), Some(100_000_000));
    }
}
