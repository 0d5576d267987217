//! A container's standard input, fed by attached clients.

use std::{io, os::fd::OwnedFd};

use rustix::io::Errno;

use super::Stdio;
use crate::monitor::process::{
    attach::{Client, write_some},
    poll::{EventFlags, Poller, Token, Watched},
};

/// Bytes of input that are read at once.
const CHUNK: usize = 4096;

/// The container's standard input: a pipe's end or a terminal's master side.
#[derive(Debug)]
pub(super) struct Input {
    sink: Option<Watched>,
    /// What the container has not taken; clients wait meanwhile.
    queue: Vec<u8>,
    /// Close it when the first client has closed its side.
    once: bool,
    /// Close it when the queue is empty.
    closing: bool,
}

impl Input {
    pub(super) fn new(sink: OwnedFd, once: bool, poller: &mut Poller) -> io::Result<Self> {
        let sink = poller.watch(sink, None)?;
        Ok(Self { sink: Some(sink), queue: Vec::new(), once, closing: false })
    }

    /// Whether a client may attach to it.
    pub(super) fn is_open(&self) -> bool {
        self.sink.is_some() && !self.closing
    }

    fn write(&mut self, bytes: &[u8]) {
        let Some(sink) = &mut self.sink else { return };
        match write_some(sink, bytes) {
            Ok(written) => self.queue = bytes[written..].to_vec(),
            Err(_) => self.sink = None,
        }
        self.settle();
    }

    fn client_closed(&mut self) {
        self.closing |= self.once;
        self.settle();
    }

    fn flush(&mut self) {
        let queue = std::mem::take(&mut self.queue);
        self.write(&queue);
    }

    fn settle(&mut self) {
        if self.queue.is_empty() && self.closing {
            self.sink = None;
        }
        if let Some(sink) = &mut self.sink
            && sink.set_interest((!self.queue.is_empty()).then_some(EventFlags::OUT)).is_err()
        {
            self.sink = None;
        }
    }
}

impl Stdio {
    /// Handles an event of a client's input or of the container's, if it is one.
    pub(super) fn handle_input(&mut self, token: Token, flags: EventFlags, buffer: &mut [u8]) -> bool {
        let Some(input) = &mut self.input else { return false };
        if input.sink.as_ref().is_some_and(|sink| sink.token() == token) {
            if flags.contains(EventFlags::ERR) {
                input.sink = None;
                input.queue = Vec::new();
            } else {
                input.flush();
            }
            return true;
        }
        let typed = |client: &&mut Client| client.stdin.as_ref().is_some_and(|stdin| stdin.token() == token);
        let Some(client) = self.clients.iter_mut().find(typed) else { return false };
        read_client(client, input, &mut buffer[..CHUNK]);
        true
    }

    /// Lets clients be read as long as the container takes their input, and closes their pipes when it never will.
    pub(super) fn settle_input(&mut self) -> io::Result<()> {
        let open = self.input.as_ref().filter(|input| input.sink.is_some());
        for client in &mut self.clients {
            match (&mut client.stdin, open) {
                (Some(stdin), Some(input)) => {
                    stdin.set_interest(input.queue.is_empty().then_some(EventFlags::IN))?;
                }
                (stdin, _) => *stdin = None,
            }
        }
        Ok(())
    }
}

fn read_client(client: &mut Client, input: &mut Input, buffer: &mut [u8]) {
    let Some(stdin) = &client.stdin else { return };
    match rustix::io::read(stdin, &mut *buffer) {
        Err(Errno::AGAIN | Errno::INTR) => {}
        Ok(0) | Err(_) => {
            client.stdin = None;
            input.client_closed();
        }
        Ok(length) => input.write(&buffer[..length]),
    }
}
