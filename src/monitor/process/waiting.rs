//! Clients that attached to a container before its start: they miss nothing of what it says.

use std::{os::fd::OwnedFd, time::Instant};

use super::{
    attach::Client,
    poll::{EventFlags, Poller, Token},
};
use crate::{
    monitor::wire::{Failure, Streams},
    types::Id,
};

/// How many clients may wait in a pod.
const MOST: usize = 64;

/// The clients that wait, and for which container.
#[derive(Debug, Default)]
pub(super) struct Waiting(Vec<(Id, Client)>);

impl Waiting {
    /// Lets a client wait; its ends of the pipes are returned. What it types is not read before the start.
    pub(super) fn add(
        &mut self,
        container: &Id,
        streams: Streams,
        poller: &mut Poller,
    ) -> Result<Vec<OwnedFd>, Failure> {
        if self.0.len() >= MOST {
            return Err(Failure::NoContainer);
        }
        let failed = |error| Failure::system("attach", &error);
        let (mut client, theirs) = Client::new(streams, poller).map_err(failed)?;
        if let Some(stdin) = &mut client.stdin {
            stdin.set_interest(None).map_err(failed)?;
        }
        self.0.push((container.clone(), client));
        Ok(theirs)
    }

    /// The clients that have waited for a container, which has started or never will.
    pub(super) fn take(&mut self, container: &Id) -> Vec<Client> {
        self.0.extract_if(.., |(awaited, _)| awaited == container).map(|(_, client)| client).collect()
    }

    /// Handles an event, if it is about a client that waits: it has gone.
    pub(super) fn handle(&mut self, token: Token, flags: EventFlags, now: Instant) -> bool {
        let Some(index) = self.0.iter_mut().position(|(_, client)| client.handle(token, flags, now)) else {
            return false;
        };
        if self.0[index].1.hears_nothing() {
            self.0.swap_remove(index);
        }
        true
    }
}
