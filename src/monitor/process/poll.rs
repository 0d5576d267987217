//! What the monitor waits for: an epoll instance whose registrations end with their descriptors.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    rc::Rc,
    time::{Duration, Instant},
};

use rustix::{
    event::{
        Timespec,
        epoll::{self, CreateFlags, Event, EventData},
    },
    io::Errno,
};

pub(super) use rustix::event::epoll::EventFlags;

/// Events taken from the kernel at once.
const BATCH: usize = 16;

/// Names the source of an event. Never used twice in a process, so an event that was taken from the kernel before its
/// source went away finds nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token(u64);

/// The epoll instance.
#[derive(Debug)]
pub(super) struct Poller {
    epoll: Rc<OwnedFd>,
    next: u64,
}

/// A descriptor that is, or is not just now, watched.
///
/// It leaves the epoll instance before it is closed: a child that is being launched holds copies for a moment, and
/// epoll would go on telling about a file that nobody here can name any more.
#[derive(Debug)]
pub(super) struct Watched {
    epoll: Rc<OwnedFd>,
    descriptor: OwnedFd,
    token: Token,
    interest: Option<EventFlags>,
}

impl Poller {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { epoll: Rc::new(epoll::create(CreateFlags::CLOEXEC)?), next: 0 })
    }

    /// Takes a descriptor that is to be watched for `interest`; see [`Watched::set_interest`].
    pub(super) fn watch(&mut self, descriptor: OwnedFd, interest: Option<EventFlags>) -> io::Result<Watched> {
        let token = Token(self.next);
        self.next += 1;
        let mut watched = Watched { epoll: Rc::clone(&self.epoll), descriptor, token, interest: None };
        watched.set_interest(interest)?;
        Ok(watched)
    }

    /// Waits until something happens or `deadline` has come.
    pub(super) fn wait(&self, deadline: Option<Instant>) -> io::Result<Vec<(Token, EventFlags)>> {
        let timeout = deadline.map(|deadline| timespec(deadline.saturating_duration_since(Instant::now())));
        let mut events = [Event { flags: EventFlags::empty(), data: EventData::new_u64(0) }; BATCH];
        let count = match epoll::wait(&*self.epoll, &mut events[..], timeout.as_ref()) {
            Ok(count) => count,
            Err(Errno::INTR) => 0,
            Err(error) => return Err(error.into()),
        };
        Ok(events[..count].iter().map(|event| (Token(event.data.u64()), event.flags)).collect())
    }
}

/// Rounds up to whole milliseconds, so that a deadline has come when the wait for it is over.
fn timespec(duration: Duration) -> Timespec {
    let millis = duration.as_micros().div_ceil(1000);
    Timespec {
        tv_sec: i64::try_from(millis / 1000).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(millis % 1000).unwrap_or(0) * 1_000_000,
    }
}

impl Watched {
    pub(super) fn token(&self) -> Token {
        self.token
    }

    /// Sets what to watch for. `None` is nothing at all; with empty flags errors and hang-ups are still told.
    pub(super) fn set_interest(&mut self, interest: Option<EventFlags>) -> io::Result<()> {
        if self.interest == interest {
            return Ok(());
        }
        let data = EventData::new_u64(self.token.0);
        match (self.interest, interest) {
            (None, Some(flags)) => epoll::add(&*self.epoll, &self.descriptor, data, flags)?,
            (Some(_), Some(flags)) => epoll::modify(&*self.epoll, &self.descriptor, data, flags)?,
            (_, None) => epoll::delete(&*self.epoll, &self.descriptor)?,
        }
        self.interest = interest;
        Ok(())
    }
}

impl AsFd for Watched {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let _ = self.set_interest(None);
    }
}
