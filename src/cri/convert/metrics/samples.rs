use super::family::{COMMON, Family};
use crate::{types::Timestamp, wire};

/// Nanoseconds in a second.
const SECOND: u64 = 1_000_000_000;

/// Samples that are told of one container or pod.
#[derive(Debug)]
pub(super) struct Samples {
    subject: [String; COMMON.len()],
    samples: Vec<wire::Metric>,
}

impl Samples {
    /// None yet; `subject` are the values of the labels that all will have.
    pub(super) fn of(subject: [&str; COMMON.len()]) -> Self {
        Self { subject: subject.map(str::to_owned), samples: Vec::new() }
    }

    /// Adds a sample that was taken for this answer.
    pub(super) fn add(&mut self, family: &Family, labels: &[&str], value: impl Into<Option<u64>>) {
        // The wire's word for "just now": kubelet leaves the time to whoever reads it from there.
        self.add_of(Timestamp(0), family, labels, value);
    }

    /// Adds a sample that was taken at some time before.
    pub(super) fn add_of(&mut self, at: Timestamp, family: &Family, labels: &[&str], value: impl Into<Option<u64>>) {
        let Some(value) = value.into() else { return };
        self.samples.push(wire::Metric {
            name: family.name.to_owned(),
            timestamp: at.0,
            metric_type: family.kind as i32,
            label_values: self
                .subject
                .iter()
                .map(String::as_str)
                .chain(labels.iter().copied())
                .map(Into::into)
                .collect(),
            value: Some(wire::UInt64Value { value }),
        });
    }

    /// Adds a time in whole seconds, as the wire has no fractions.
    pub(super) fn add_seconds(&mut self, family: &Family, labels: &[&str], nanoseconds: impl Into<Option<u64>>) {
        self.add(family, labels, nanoseconds.into().map(|nanoseconds| nanoseconds / SECOND));
    }

    /// Adds a point in time, in seconds since the epoch.
    pub(super) fn add_time(&mut self, family: &Family, at: Option<Timestamp>) {
        self.add_seconds(family, &[], at.and_then(|at| u64::try_from(at.0).ok()));
    }

    pub(super) fn into_wire(self) -> Vec<wire::Metric> {
        self.samples
    }
}
