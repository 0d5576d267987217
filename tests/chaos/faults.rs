//! What is taken from the daemon for a while, and how it may say so.

use std::time::Duration;

use tonic::{Code, Status};

use crate::support::patience;

/// How long what was begun during a fault may go on after it, s: a call may join it and hear of its end.
const ECHO: u64 = 5;

/// Something that is taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Room on the store's disk.
    Store,
    /// Room on the disk of the logs.
    Logs,
    /// Descriptors.
    Descriptors,
    /// A registry that works.
    Registry,
}

impl Fault {
    /// Whether something may fail with these words while it lasts.
    fn is_named_in(self, message: &str) -> bool {
        let message = message.to_lowercase();
        match self {
            Self::Store | Self::Logs => message.contains("no space left on device"),
            Self::Descriptors => message.contains("too many open files"),
            Self::Registry => false,
        }
    }

    /// Whether a call may be refused like this while it lasts.
    fn explains(self, status: &Status) -> bool {
        match self {
            Self::Store | Self::Logs | Self::Descriptors => {
                status.code() == Code::ResourceExhausted && self.is_named_in(status.message())
            }
            // As kubelet has to be told of a failed pull.
            Self::Registry if status.code() == Code::Unknown => status.message().starts_with("RegistryUnavailable: "),
            Self::Registry => status.code() == Code::Unavailable,
        }
    }
}

/// One time that something was taken away, and when it was given back, by the age of the run.
#[derive(Debug)]
struct Spell {
    fault: Fault,
    to: Option<Duration>,
}

impl Spell {
    fn lasted_after(&self, moment: Duration) -> bool {
        self.to.is_none_or(|to| to >= moment)
    }
}

/// All of a run.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    spells: Vec<Spell>,
    refusals: u32,
}

impl Faults {
    /// To be said before something is taken away.
    pub(crate) fn begin(&mut self, fault: Fault) {
        self.spells.push(Spell { fault, to: None });
    }

    /// To be said when it has been given back.
    pub(crate) fn end(&mut self, fault: Fault, now: Duration) {
        let spell = self.spells.iter_mut().rfind(|spell| spell.fault == fault);
        spell.expect("a fault that has begun").to = Some(now);
    }

    /// Whether one is the reason for the refusal of a call that was begun at this moment.
    pub(crate) fn explain(&mut self, status: &Status, begun: Duration) -> bool {
        let echo = patience(ECHO);
        let is_so = self
            .spells
            .iter()
            .any(|spell| spell.fault.explains(status) && spell.to.is_none_or(|to| to + echo >= begun));
        self.refusals += u32::from(is_so);
        is_so
    }

    /// Whether something that was done from this moment on may have failed with these words.
    pub(crate) fn is_named_in(&self, message: &str, begun: Duration) -> bool {
        self.spells.iter().any(|spell| spell.lasted_after(begun) && spell.fault.is_named_in(message))
    }

    /// Whether anything was missing at some time from this moment on.
    pub(crate) fn any_after(&self, moment: Duration) -> bool {
        self.spells.iter().any(|spell| spell.lasted_after(moment))
    }

    /// Whether this was missing at some time from this moment on.
    pub(crate) fn lasted_after(&self, fault: Fault, moment: Duration) -> bool {
        self.spells.iter().any(|spell| spell.fault == fault && spell.lasted_after(moment))
    }

    /// Whether this is missing now.
    pub(crate) fn lasts(&self, fault: Fault) -> bool {
        self.spells.iter().any(|spell| spell.fault == fault && spell.to.is_none())
    }

    /// How much was missing.
    pub(crate) fn tally(&self) -> String {
        format!("{} faults, {} calls refused for them", self.spells.len(), self.refusals)
    }
}
