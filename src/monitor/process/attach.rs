//! Clients that are attached to a container's stdio: the monitor's ends of their pipes.

use std::{
    io,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    pipe::{PipeFlags, pipe_with},
};

use super::{
    log::Stream,
    poll::{EventFlags, Poller, Token, Watched},
};
use crate::monitor::wire::Streams;

/// How long a client may take nothing while there is output for it; the container waits for it meanwhile.
const PATIENCE: Duration = Duration::from_secs(10);

/// An attached client.
#[derive(Debug, Default)]
pub(super) struct Client {
    /// What it types.
    pub stdin: Option<Watched>,
    stdout: Option<Sink>,
    stderr: Option<Sink>,
}

/// The way to a client for one output.
#[derive(Debug)]
struct Sink {
    pipe: Watched,
    /// What the pipe did not take; the output is not read on before this is gone.
    queue: Vec<u8>,
    /// Since when the pipe has taken nothing.
    stalled: Option<Instant>,
}

impl Client {
    /// Makes the pipes for `streams`; the client's ends are returned in the order of the fields.
    pub(super) fn new(streams: Streams, poller: &mut Poller) -> io::Result<(Self, Vec<OwnedFd>)> {
        let mut client = Self::default();
        let mut theirs = Vec::new();
        if streams.stdin {
            let (read, write) = pipe()?;
            client.stdin = Some(poller.watch(read, Some(EventFlags::IN))?);
            theirs.push(write);
        }
        for (wanted, slot) in [(streams.stdout, &mut client.stdout), (streams.stderr, &mut client.stderr)] {
            if wanted {
                let (read, write) = pipe()?;
                // Without flags: only the reader's end is of interest.
                let pipe = poller.watch(write, Some(EventFlags::empty()))?;
                *slot = Some(Sink { pipe, queue: Vec::new(), stalled: None });
                theirs.push(read);
            }
        }
        Ok((client, theirs))
    }

    /// Whether nothing connects it any more.
    pub(super) fn is_gone(&self) -> bool {
        self.stdin.is_none() && self.hears_nothing()
    }

    /// Whether no output reaches it any more.
    pub(super) fn hears_nothing(&self) -> bool {
        self.stdout.is_none() && self.stderr.is_none()
    }

    /// Whether it has not taken all that `stream` had for it.
    pub(super) fn blocks(&self, stream: Stream) -> bool {
        self.sink(stream).is_some_and(|sink| !sink.queue.is_empty())
    }

    /// Gives it output.
    pub(super) fn send(&mut self, stream: Stream, chunk: &[u8], now: Instant) {
        let slot = self.slot(stream);
        if let Some(sink) = slot
            && sink.send(chunk, now).is_err()
        {
            *slot = None;
        }
    }

    /// Tells it that there is no more of that output; what it has not taken is given up.
    pub(super) fn close(&mut self, stream: Stream) {
        *self.slot(stream) = None;
    }

    /// Handles an event, if it is one of its outputs': the pipe takes more, or its reader is gone.
    pub(super) fn handle(&mut self, token: Token, flags: EventFlags, now: Instant) -> bool {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let slot = self.slot(stream);
            let Some(sink) = slot.as_mut().filter(|sink| sink.pipe.token() == token) else { continue };
            if flags.intersects(EventFlags::ERR | EventFlags::HUP) || sink.flush(now).is_err() {
                *slot = None;
            }
            return true;
        }
        false
    }

    /// When it will be dropped, unless it takes something before.
    pub(super) fn deadline(&self) -> Option<Instant> {
        [&self.stdout, &self.stderr].into_iter().flatten().filter_map(Sink::deadline).min()
    }

    /// Drops the outputs that it has not taken in time.
    pub(super) fn expire(&mut self, now: Instant) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let slot = self.slot(stream);
            if slot.as_ref().and_then(Sink::deadline).is_some_and(|deadline| deadline <= now) {
                *slot = None;
            }
        }
    }

    fn sink(&self, stream: Stream) -> Option<&Sink> {
        match stream {
            Stream::Stdout => self.stdout.as_ref(),
            Stream::Stderr => self.stderr.as_ref(),
        }
    }

    fn slot(&mut self, stream: Stream) -> &mut Option<Sink> {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }
}

impl Sink {
    fn send(&mut self, chunk: &[u8], now: Instant) -> io::Result<()> {
        let written = write_some(&self.pipe, chunk)?;
        if written < chunk.len() {
            self.queue = chunk[written..].to_vec();
            self.stalled = Some(now);
            self.pipe.set_interest(Some(EventFlags::OUT))?;
        }
        Ok(())
    }

    fn flush(&mut self, now: Instant) -> io::Result<()> {
        let written = write_some(&self.pipe, &self.queue)?;
        self.queue.drain(..written);
        if self.queue.is_empty() {
            self.queue = Vec::new();
            self.stalled = None;
            self.pipe.set_interest(Some(EventFlags::empty()))?;
        } else if written > 0 {
            self.stalled = Some(now);
        }
        Ok(())
    }

    fn deadline(&self) -> Option<Instant> {
        Some(self.stalled? + PATIENCE)
    }
}

/// Writes as much as is taken without waiting.
pub(super) fn write_some(to: &Watched, bytes: &[u8]) -> io::Result<usize> {
    let mut written = 0;
    while written < bytes.len() {
        match rustix::io::write(to, &bytes[written..]) {
            Ok(count) => written += count,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(written)
}

/// A pipe; neither end blocks, and tokio wants that of the other one too.
fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?)
}
