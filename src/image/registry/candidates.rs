//! Which host is asked next, and when, until one gives the answer or all have failed.

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    sync::Arc,
    time::Duration,
};

use super::{
    endpoint::Endpoint,
    error::{Error, Failure, Others, Retry, Side},
};

/// Bytes after which a host that broke off has earned to be asked again as if nothing had happened.
const WORTHWHILE: u64 = 64 << 10;

/// How patient we are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// Rounds over all hosts in which nothing is gained.
    pub(super) rounds: u32,
    /// Pause after the first of them; it doubles with each.
    pub(super) first_pause: Duration,
    /// Longest pause that we choose.
    pub(super) longest_pause: Duration,
    /// Longest pause that a host may ask for; one that wants a longer one is not asked again.
    pub(super) longest_retry_after: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            rounds: 5,
            first_pause: Duration::from_millis(250),
            longest_pause: Duration::from_secs(8),
            longest_retry_after: Duration::from_secs(60),
        }
    }
}

impl Patience {
    /// The pause after a number of rounds; half of it is left to chance, so that many clients do not come back at once.
    fn pause(&self, rounds: u32) -> Duration {
        let doubled = self.first_pause.saturating_mul(1 << rounds.saturating_sub(1).min(16));
        let chance = RandomState::new().build_hasher().finish() as f64 / u64::MAX as f64;
        doubled.min(self.longest_pause).mul_f64(0.5 + chance / 2.0)
    }
}

#[derive(Debug)]
struct Candidate {
    endpoint: Arc<Endpoint>,
    /// What happened last.
    failure: Option<Failure>,
    /// Failures since it last was of use.
    failures: u32,
    /// Whether it is not asked again.
    out: bool,
}

impl Candidate {
    /// How long this host wants to be left alone.
    fn retry_after(&self) -> Duration {
        match self.failure.as_ref().map(Failure::retry) {
            Some(Retry::After(Some(pause))) => pause,
            _ => Duration::ZERO,
        }
    }
}

/// The hosts for one operation. They are asked in turn; when all have failed for now, there is a pause and those that
/// may yet succeed are asked again.
#[derive(Debug)]
pub(super) struct Candidates {
    patience: Patience,
    candidates: Vec<Candidate>,
    /// The one that is asked.
    current: Option<usize>,
    /// Pause before it is asked.
    pause: Duration,
    /// Rounds that ended without any gain.
    rounds: u32,
    /// Bytes that the current one has given since it last failed.
    gained: u64,
}

impl Candidates {
    pub(super) fn new(patience: Patience, endpoints: Vec<Arc<Endpoint>>) -> Self {
        let candidate = |endpoint| Candidate { endpoint, failure: None, failures: 0, out: false };
        let candidates: Vec<_> = endpoints.into_iter().map(candidate).collect();
        let current = if candidates.is_empty() { None } else { Some(0) };
        Self { patience, candidates, current, pause: Duration::ZERO, rounds: 0, gained: 0 }
    }

    /// The host to ask now, after a pause if need be; `None` when it is time to give up.
    pub(super) async fn next(&mut self) -> Option<Arc<Endpoint>> {
        let candidate = &self.candidates[self.current?];
        let pause = std::mem::take(&mut self.pause);
        if !pause.is_zero() {
            tracing::debug!(host = candidate.endpoint.host(), ?pause, "registry request is tried again");
            tokio::time::sleep(pause).await;
        }
        Some(candidate.endpoint.clone())
    }

    /// Notes that the host gave some of the content.
    pub(super) fn gained(&mut self, bytes: u64) {
        self.gained += bytes;
    }

    /// Notes that the host failed, and decides who comes next.
    pub(super) fn failed(&mut self, failure: Failure) {
        let Some(current) = self.current else { return };
        let was_of_use = std::mem::take(&mut self.gained) >= WORTHWHILE;
        let candidate = &mut self.candidates[current];
        tracing::debug!(host = candidate.endpoint.host(), failure = crate::error::chain(&failure), "registry failure");
        if was_of_use {
            candidate.failures = 0;
            self.rounds = 0;
        }
        candidate.failures += 1;
        candidate.out = match failure.retry() {
            Retry::Never => true,
            Retry::Once => candidate.failures > 1,
            Retry::After(pause) => pause > Some(self.patience.longest_retry_after),
        };
        candidate.failure = Some(failure);
        if was_of_use && !candidate.out {
            // It was a good host until now: go on where it broke off.
            self.pause = self.patience.pause(1);
            return;
        }
        self.current = self.position_from(current + 1).or_else(|| self.new_round());
    }

    fn position_from(&self, start: usize) -> Option<usize> {
        (start..self.candidates.len()).find(|&index| !self.candidates[index].out)
    }

    fn new_round(&mut self) -> Option<usize> {
        self.rounds += 1;
        if self.rounds >= self.patience.rounds {
            return None;
        }
        let first = self.position_from(0)?;
        let left = self.candidates.iter().filter(|candidate| !candidate.out);
        let asked_for = left.map(Candidate::retry_after).min().unwrap_or_default();
        self.pause = self.patience.pause(self.rounds).max(asked_for);
        Some(first)
    }

    /// The error of an operation that no host could do.
    ///
    /// It is about the host whose answer counts most: the last one, which is the registry itself, unless that could not
    /// be reached and another one gave an answer.
    pub(super) fn into_error(self, operation: &'static str, object: String) -> Error {
        let failures =
            self.candidates.into_iter().filter_map(|candidate| Some((candidate.endpoint, candidate.failure?)));
        let mut failures: Vec<_> = failures.map(|(endpoint, failure)| (endpoint.host().to_owned(), failure)).collect();
        let answered = failures.iter().rposition(|(_, failure)| failure.side() != Side::Network);
        let Some(decisive) = answered.or(failures.len().checked_sub(1)) else {
            return Error::NoHost { operation, object };
        };
        let (host, source) = failures.remove(decisive);
        Error::Request { operation, object, host, others: Others(failures), source: Box::new(source) }
    }
}
