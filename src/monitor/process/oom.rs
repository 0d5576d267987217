//! Kills for memory in a cgroup that may be gone, with the count, before its container's end is heard of.

use std::os::fd::OwnedFd;

use super::poll::{EventFlags, Poller, Token, Watched};
use crate::runtime::cgroup::{self, Cgroup};

/// Watches for kills while they happen.
#[derive(Debug)]
pub(super) struct OomWatch {
    events: Watched,
    seen: bool,
    /// The same for the whole pod, and its count when this container began.
    pod: (OwnedFd, u64),
}

impl OomWatch {
    /// Begins, for a container that runs already; `None` where the count stays as long as the monitor wants.
    pub(super) fn new(cgroup: &Cgroup, poller: &mut Poller) -> Option<Self> {
        let (own, pod) = cgroup.memory_events()?;
        let kills = cgroup::oom_kills(&pod).ok()?;
        let events = poller.watch(own, Some(EventFlags::PRI)).ok()?;
        let mut watch = Self { events, seen: false, pod: (pod, kills) };
        watch.look();
        Some(watch)
    }

    /// Takes note of an event, if it is its own.
    pub(super) fn handle(&mut self, token: Token) -> bool {
        let is_own = self.events.token() == token;
        if is_own {
            self.look();
        }
        is_own
    }

    /// Whether the kernel killed for memory, at the end of a main process by `SIGKILL` that no daemon asked for. What came
    /// too fast to be seen is told from the pod's count.
    pub(super) fn verdict(mut self) -> bool {
        let is_known = self.look();
        let (pod, before) = &self.pod;
        self.seen || (!is_known && cgroup::oom_kills(pod).is_ok_and(|kills| kills > *before))
    }

    /// Reads the count; says whether there still was one.
    fn look(&mut self) -> bool {
        let kills = cgroup::oom_kills(&self.events);
        match kills {
            Ok(kills) => self.seen |= kills > 0,
            // The file would be told of for ever.
            Err(_) => drop(self.events.set_interest(None)),
        }
        kills.is_ok()
    }
}
