//! A container's standard streams: output goes to its log and to attached clients, their input goes to it.
//!
//! All is bounded. What was read and not yet taken by everyone (a full disk, a client that does not read) is kept, and
//! as long as there is such a rest the output it came from is not read: the container waits in its `write(2)`.

mod input;
#[cfg(test)]
mod tests;

use std::{
    io, mem,
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant},
};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
    pipe::{PipeFlags, pipe_with},
};

use self::input::Input;
use super::{
    attach::Client,
    log::{Log, Stream, Unfinished},
    poll::{EventFlags, Poller, Token, Watched},
    pty,
};
use crate::{
    monitor::wire::{ContainerIo, Failure, Streams},
    runtime::launch,
    types::Timestamp,
};

/// Reads of one output before others get their turn.
const READS_AT_ONCE: usize = 8;
/// How long output is awaited after the main process's end, from processes outside of the container's cgroup that hold
/// its pipes.
const DRAIN: Duration = Duration::from_millis(500);

/// The monitor's side of a container's streams.
#[derive(Debug)]
pub(super) struct Stdio {
    outputs: Vec<Output>,
    input: Option<Input>,
    terminal: Option<Terminal>,
    log: Option<Log>,
    clients: Vec<Client>,
    /// Set at the main process's end: when to stop waiting for more.
    drained_by: Option<Instant>,
}

#[derive(Debug)]
struct Output {
    stream: Stream,
    /// `None` once it has ended.
    source: Option<Watched>,
    unfinished: Unfinished,
    /// What was read and the log has not taken.
    held: Vec<u8>,
}

#[derive(Debug)]
struct Terminal {
    master: OwnedFd,
    /// Held while the main process lives; see [`pty::open_slave`].
    slave: Option<OwnedFd>,
}

/// The monitor's ends, before the container is launched.
#[derive(Debug)]
pub(super) struct Ends {
    log: Option<Log>,
    stdin: Option<OwnedFd>,
    outputs: Vec<(Stream, OwnedFd)>,
    keeps_stdin: bool,
    stdin_once: bool,
}

impl Ends {
    /// Opens the log and makes the pipes; the child's ends come back for the launch.
    pub(super) fn open(io: &ContainerIo, terminal: bool) -> Result<(Self, launch::Stdio), Failure> {
        let log = match &io.log {
            Some(path) => {
                Some(Log::open(path).map_err(|error| Failure::system(format!("open log {}", path.display()), &error))?)
            }
            None => None,
        };
        let mut ends = Self { log, stdin: None, outputs: Vec::new(), keeps_stdin: io.stdin, stdin_once: io.stdin_once };
        if terminal {
            return Ok((ends, launch::Stdio::Terminal));
        }
        let child = ends.pipes().map_err(|error| Failure::system("make stdio pipes", &error))?;
        Ok((ends, child))
    }

    fn pipes(&mut self) -> io::Result<launch::Stdio> {
        let stdin = if self.keeps_stdin {
            let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
            rustix::io::ioctl_fionbio(&write, true)?;
            self.stdin = Some(write);
            read
        } else {
            rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?
        };
        let mut output = |stream| -> io::Result<OwnedFd> {
            let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
            rustix::io::ioctl_fionbio(&read, true)?;
            self.outputs.push((stream, read));
            Ok(write)
        };
        Ok(launch::Stdio::Pipes { stdin, stdout: output(Stream::Stdout)?, stderr: output(Stream::Stderr)? })
    }
}

impl Stdio {
    /// Takes over after the launch; `console` is the master side of the container's terminal.
    pub(super) fn new(mut ends: Ends, console: Option<OwnedFd>, poller: &mut Poller) -> io::Result<Self> {
        let terminal = match console {
            Some(master) => {
                rustix::io::ioctl_fionbio(&master, true)?;
                ends.outputs.push((Stream::Stdout, master.try_clone()?));
                ends.stdin = ends.keeps_stdin.then(|| master.try_clone()).transpose()?;
                let slave = Some(pty::open_slave(master.as_fd())?);
                Some(Terminal { master, slave })
            }
            None => None,
        };
        // A terminal cannot be half closed; there `stdin_once` means nothing.
        let once = ends.stdin_once && terminal.is_none();
        let input = ends.stdin.map(|stdin| Input::new(stdin, once, poller)).transpose()?;
        let mut outputs = Vec::with_capacity(ends.outputs.len());
        for (stream, source) in ends.outputs {
            let source = Some(poller.watch(source, Some(EventFlags::IN))?);
            outputs.push(Output { stream, source, unfinished: Unfinished::default(), held: Vec::new() });
        }
        Ok(Self { outputs, input, terminal, log: ends.log, clients: Vec::new(), drained_by: None })
    }

    /// Handles an event, if it is about these streams.
    pub(super) fn handle(&mut self, token: Token, flags: EventFlags, buffer: &mut [u8]) -> io::Result<bool> {
        let now = Instant::now();
        let is_source = |output: &Output| output.source.as_ref().is_some_and(|source| source.token() == token);
        let mine = if let Some(index) = self.outputs.iter().position(is_source) {
            self.pump(index, buffer, now);
            true
        } else {
            self.handle_input(token, flags, buffer)
                || self.clients.iter_mut().any(|client| client.handle(token, flags, now))
        };
        if mine {
            self.settle()?;
        }
        Ok(mine)
    }

    /// Gives a client its ends of the streams that there are.
    pub(super) fn attach(&mut self, asked: Streams, poller: &mut Poller) -> io::Result<(Streams, Vec<OwnedFd>)> {
        // A terminal has only one output.
        let asked = Streams { stderr: asked.stderr && self.terminal.is_none(), ..asked };
        let granted = Streams { stdin: asked.stdin && self.input.as_ref().is_some_and(Input::is_open), ..asked };
        let (client, theirs) = Client::new(granted, poller)?;
        self.adopt(client)?;
        Ok((granted, theirs))
    }

    /// Takes a client in, and closes what there is not for it.
    pub(super) fn adopt(&mut self, mut client: Client) -> io::Result<()> {
        for stream in [Stream::Stdout, Stream::Stderr] {
            if !self.outputs.iter().any(|output| output.stream == stream && output.source.is_some()) {
                client.close(stream);
            }
        }
        self.clients.push(client);
        self.settle()
    }

    /// Goes on in a new log file.
    pub(super) fn reopen_log(&mut self) -> Result<(), Failure> {
        let log = self.log.as_mut().ok_or(Failure::NoLog)?;
        log.reopen().map_err(|error| Failure::system("open the new log", &error))
    }

    /// Sets the terminal's size.
    pub(super) fn resize(&self, columns: u16, rows: u16) -> Result<(), Failure> {
        let terminal = self.terminal.as_ref().ok_or(Failure::NoTerminal)?;
        pty::resize(&terminal.master, columns, rows).map_err(|error| Failure::system("resize terminal", &error))
    }

    /// Notes the main process's end: nothing more is put in, and what comes out comes soon.
    pub(super) fn main_ended(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        let now = Instant::now();
        self.input = None;
        if let Some(terminal) = &mut self.terminal {
            terminal.slave = None;
        }
        self.drained_by = Some(now + DRAIN);
        for index in 0..self.outputs.len() {
            self.pump(index, buffer, now);
        }
        self.settle()
    }

    /// Whether all output is where it belongs.
    pub(super) fn is_drained(&self) -> bool {
        let done = |output: &Output| output.source.is_none() && output.held.is_empty() && output.unfinished.is_empty();
        self.outputs.iter().all(done) && !self.log.as_ref().is_some_and(Log::is_blocked)
    }

    /// When [`Stdio::tick`] has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let drain = self.drained_by.filter(|_| self.outputs.iter().any(|output| self.is_awaited(output)));
        let clients = self.clients.iter().filter_map(Client::deadline).min();
        [drain, clients, self.log.as_ref().and_then(Log::retry_at)].into_iter().flatten().min()
    }

    /// Does what has become due.
    pub(super) fn tick(&mut self, now: Instant, buffer: &mut [u8]) -> io::Result<()> {
        self.clients.iter_mut().for_each(|client| client.expire(now));
        if let Some(log) = self.log.as_mut().filter(|log| log.retry_at().is_some_and(|at| at <= now)) {
            log.retry();
            self.write_held();
        }
        if self.drained_by.is_some_and(|at| at <= now) {
            for index in 0..self.outputs.len() {
                self.pump(index, buffer, now);
            }
        }
        self.settle()
    }

    /// Whether an output has not ended and nobody hinders its reading.
    fn is_awaited(&self, output: &Output) -> bool {
        output.source.is_some() && !self.is_blocked(output)
    }

    /// Whether somebody has not taken what was read of an output.
    fn is_blocked(&self, output: &Output) -> bool {
        !output.held.is_empty()
            || self.log.as_ref().is_some_and(Log::is_blocked)
            || self.clients.iter().any(|client| client.blocks(output.stream))
    }

    /// Reads an output and hands on what it says.
    fn pump(&mut self, index: usize, buffer: &mut [u8], now: Instant) {
        let overdue = self.drained_by.is_some_and(|at| at <= now);
        for _ in 0..READS_AT_ONCE {
            let output = &self.outputs[index];
            let Some(source) = output.source.as_ref().filter(|_| !self.is_blocked(output)) else { return };
            match rustix::io::read(source, &mut *buffer) {
                Ok(0) => return self.end(index),
                Ok(length) => self.deliver(index, &buffer[..length], now),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if !overdue => return,
                // `AGAIN`: whoever still holds the pipe is not waited for any longer. `IO`: how a terminal's output ends.
                Err(_) => return self.end(index),
            }
        }
    }

    fn deliver(&mut self, index: usize, chunk: &[u8], now: Instant) {
        let output = &mut self.outputs[index];
        self.clients.iter_mut().for_each(|client| client.send(output.stream, chunk, now));
        if let Some(log) = &mut self.log {
            let taken = log.append(output.stream, &mut output.unfinished, chunk, Timestamp::now());
            output.held = chunk[taken..].to_vec();
        }
    }

    /// Closes an output that has ended.
    fn end(&mut self, index: usize) {
        let output = &mut self.outputs[index];
        output.source = None;
        self.clients.iter_mut().for_each(|client| client.close(output.stream));
    }

    /// Offers the log what it had not taken.
    fn write_held(&mut self) {
        let Some(log) = &mut self.log else { return };
        for output in &mut self.outputs {
            let held = mem::take(&mut output.held);
            let taken = log.append(output.stream, &mut output.unfinished, &held, Timestamp::now());
            output.held = held[taken..].to_vec();
        }
    }

    /// Finishes logs of ended outputs, forgets clients that are gone, and watches for what can be handled now.
    fn settle(&mut self) -> io::Result<()> {
        for output in self.outputs.iter_mut().filter(|output| output.source.is_none() && output.held.is_empty()) {
            if let Some(log) = &mut self.log {
                log.finish(output.stream, &mut output.unfinished, Timestamp::now());
            }
        }
        self.settle_input()?;
        self.clients.retain(|client| !client.is_gone());
        for index in 0..self.outputs.len() {
            // Without interest not even a hang-up is told, which would come again and again while nobody reads.
            let interest = self.is_awaited(&self.outputs[index]).then_some(EventFlags::IN);
            if let Some(source) = &mut self.outputs[index].source {
                source.set_interest(interest)?;
            }
        }
        if self.drained_by.is_some() && self.is_drained() {
            // Whoever rotates logs may delete this one now and get its space back.
            (self.log, self.terminal) = (None, None);
        }
        Ok(())
    }
}
