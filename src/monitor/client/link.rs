//! One connection to a monitor: requests out, answers matched to them, notices handed on.

use std::{
    collections::HashMap,
    io,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    io::Interest,
    net::UnixStream,
    sync::{mpsc, oneshot},
};
use tokio_util::task::AbortOnDropHandle;

use super::{Error, Event};
use crate::{
    monitor::wire::{Failure, Frame, Kind, Notice, Reply, Request},
    types::{ExitStatus, Id},
};

/// Sequence number of requests whose answer nobody waits for.
const UNANSWERED: u32 = u32::MAX;

/// A handle on a connection; the connection ends with the last one.
#[derive(Debug, Clone)]
pub(super) struct Link {
    line: Arc<Line>,
    _reader: Arc<AbortOnDropHandle<()>>,
}

/// An answer to come.
pub(super) type Waiting = oneshot::Receiver<Frame>;

#[derive(Debug)]
struct Line {
    /// The seqpacket socket. tokio has no type for those; it only watches this one, [`Frame`] reads and writes it.
    socket: UnixStream,
    book: Mutex<Book>,
}

/// Who waits for what.
#[derive(Debug)]
struct Book {
    next: u32,
    broken: bool,
    answers: HashMap<u32, oneshot::Sender<Frame>>,
    execs: HashMap<Id, oneshot::Sender<ExitStatus>>,
    listeners: Vec<mpsc::UnboundedSender<Event>>,
    /// What was heard before the first listener came.
    unheard: Option<mpsc::UnboundedReceiver<Event>>,
}

impl Link {
    /// Takes over a connected socket.
    pub(super) fn new(socket: OwnedFd) -> io::Result<Self> {
        let (listener, unheard) = mpsc::unbounded_channel();
        let book = Book {
            next: 1,
            broken: false,
            answers: HashMap::new(),
            execs: HashMap::new(),
            listeners: vec![listener],
            unheard: Some(unheard),
        };
        let socket = UnixStream::from_std(socket.into())?;
        let line = Arc::new(Line { socket, book: Mutex::new(book) });
        let reader = tokio::spawn(read(Arc::clone(&line)));
        Ok(Self { line, _reader: Arc::new(AbortOnDropHandle::new(reader)) })
    }

    /// Sends a request and waits for its answer.
    pub(super) async fn call(
        &self,
        operation: &'static str,
        request: &Request<'_>,
        descriptors: Vec<OwnedFd>,
    ) -> Result<(Reply, Vec<OwnedFd>), Error> {
        let (sequence, waiting) = self.expect();
        let sent = async {
            let mut frame = Frame::new(Kind::Request, sequence, request, descriptors)?;
            self.line.socket.async_io(Interest::WRITABLE, || frame.send(&self.line.socket)).await
        };
        if let Err(source) = sent.await {
            self.line.book().answers.remove(&sequence);
            return Err(Error::Send { operation, source });
        }
        answer(operation, waiting).await
    }

    /// Sends a request if that is possible at once, and does not care for the answer.
    pub(super) fn post(&self, request: &Request<'_>) {
        let sent = Frame::new(Kind::Request, UNANSWERED, request, vec![])
            .and_then(|mut frame| self.line.socket.try_io(Interest::WRITABLE, || frame.send(&self.line.socket)));
        if let Err(error) = sent {
            tracing::debug!(%error, "a request to a monitor was not sent");
        }
    }

    /// Reserves a sequence number; the answer with that number goes to the receiver.
    pub(super) fn expect(&self) -> (u32, Waiting) {
        let (sender, receiver) = oneshot::channel();
        let mut book = self.line.book();
        let sequence = book.next;
        book.next = if sequence + 1 == UNANSWERED { 1 } else { sequence + 1 };
        if !book.broken {
            book.answers.insert(sequence, sender);
        }
        (sequence, receiver)
    }

    /// Reserves the notice of an exec's end. It never comes when the connection breaks: then the sender is dropped.
    pub(super) fn expect_exec(&self, exec: &Id) -> oneshot::Receiver<ExitStatus> {
        let (sender, receiver) = oneshot::channel();
        let mut book = self.line.book();
        if !book.broken {
            book.execs.insert(exec.clone(), sender);
        }
        receiver
    }

    /// Gives up the notice of an exec that did not start.
    pub(super) fn forget_exec(&self, exec: &Id) {
        self.line.book().execs.remove(exec);
    }

    /// A receiver of events: the first one gets all since the connection was made, later ones all from now on.
    pub(super) fn events(&self) -> mpsc::UnboundedReceiver<Event> {
        let mut book = self.line.book();
        if let Some(unheard) = book.unheard.take() {
            return unheard;
        }
        let (sender, receiver) = mpsc::unbounded_channel();
        if book.broken {
            let _ = sender.send(Event::Gone);
        } else {
            book.listeners.push(sender);
        }
        receiver
    }
}

/// Waits for an answer and reads it.
pub(super) async fn answer(operation: &'static str, waiting: Waiting) -> Result<(Reply, Vec<OwnedFd>), Error> {
    let frame = waiting.await.map_err(|_| Error::Gone { operation })?;
    let result: Result<Reply, Failure> = frame.message().map_err(|error| {
        tracing::debug!(operation, %error, "a monitor's answer is not understood");
        Error::Answer { operation }
    })?;
    match result {
        Ok(reply) => Ok((reply, frame.descriptors)),
        Err(failure) => Err(Error::Refused { operation, failure }),
    }
}

/// Reads frames until the connection ends.
async fn read(line: Arc<Line>) {
    loop {
        match line.socket.async_io(Interest::READABLE, || Frame::receive(&line.socket)).await {
            Ok(Some(frame)) => line.book().take_in(frame),
            Ok(None) => break,
            Err(error) => {
                tracing::debug!(%error, "a monitor's connection broke");
                break;
            }
        }
    }
    line.book().break_off();
}

impl Line {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn take_in(&mut self, frame: Frame) {
        match frame.kind {
            Kind::Reply => {
                if let Some(waiter) = self.answers.remove(&frame.sequence) {
                    // The caller may have gone; then the answer's descriptors close here.
                    let _ = waiter.send(frame);
                }
            }
            Kind::Event => match frame.message() {
                Ok(notice) => self.notice(notice),
                Err(error) => tracing::debug!(%error, "an unknown event of a monitor is skipped"),
            },
            Kind::Request | Kind::Unknown(_) => tracing::debug!(kind = ?frame.kind, "a strange frame is skipped"),
        }
    }

    fn notice(&mut self, notice: Notice) {
        match notice {
            Notice::ExecExited { exec, status } => {
                if let Some(waiter) = self.execs.remove(&exec) {
                    let _ = waiter.send(status);
                }
            }
            Notice::Exited { container, status } => self.tell(&Event::Exited { container, status }),
            Notice::InitExited { status } => self.tell(&Event::InitExited { status }),
        }
    }

    fn tell(&mut self, event: &Event) {
        self.listeners.retain(|listener| listener.send(event.clone()).is_ok());
    }

    /// Lets everybody know who waits: dropped senders tell the askers, an event tells the listeners.
    fn break_off(&mut self) {
        self.broken = true;
        self.answers.clear();
        self.execs.clear();
        self.tell(&Event::Gone);
        self.listeners.clear();
    }
}
