//! A daemon's connection, from the monitor's side.

use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, OwnedFd},
};

use super::poll::{EventFlags, Poller, Token, Watched};
use crate::monitor::wire::{Failure, Frame, Kind, Notice, Reply};

/// Frames that may wait for a daemon that does not read; then its connection is closed.
const QUEUE: usize = 1024;

/// What a request was answered with.
pub(super) type Answer = Result<(Reply, Vec<OwnedFd>), Failure>;

/// One of the daemons: usually there is one, and a second while an old one is dying.
#[derive(Debug)]
pub(super) struct Connection {
    socket: Watched,
    queue: VecDeque<Frame>,
    /// It has been told what there is, so it can make sense of notices.
    pub greeted: bool,
}

impl Connection {
    pub(super) fn new(socket: OwnedFd, poller: &mut Poller) -> io::Result<Self> {
        let socket = poller.watch(socket, Some(EventFlags::IN))?;
        Ok(Self { socket, queue: VecDeque::new(), greeted: false })
    }

    pub(super) fn token(&self) -> Token {
        self.socket.token()
    }

    /// Takes a frame that has come. `WouldBlock`: none; `None`: the daemon has closed.
    pub(super) fn receive(&self) -> io::Result<Option<Frame>> {
        Frame::receive(&self.socket)
    }

    /// Answers a request.
    pub(super) fn answer(&mut self, sequence: u32, answer: Answer) -> io::Result<()> {
        let (result, descriptors) = match answer {
            Ok((reply, descriptors)) => (Ok(reply), descriptors),
            Err(failure) => (Err(failure), vec![]),
        };
        self.send(Frame::new(Kind::Reply, sequence, &result, descriptors)?)
    }

    /// Tells something unasked.
    pub(super) fn notify(&mut self, notice: &Notice) -> io::Result<()> {
        if !self.greeted {
            return Ok(());
        }
        self.send(Frame::new(Kind::Event, 0, notice, vec![])?)
    }

    /// Sends what waits, as far as the daemon takes it.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while let Some(frame) = self.queue.front_mut() {
            match frame.send(self.socket.as_fd()) {
                Ok(()) => drop(self.queue.pop_front()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        let waits = if self.queue.is_empty() { EventFlags::empty() } else { EventFlags::OUT };
        self.socket.set_interest(Some(EventFlags::IN | waits))
    }

    fn send(&mut self, frame: Frame) -> io::Result<()> {
        if self.queue.len() >= QUEUE {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        self.queue.push_back(frame);
        self.flush()
    }
}
