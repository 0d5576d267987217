//! One connection: a reading half that hands packets to streams, a writing half that sends what streams say.

use std::{
    collections::{HashMap, HashSet},
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::timeout,
};

use super::{
    frame::{self, Frame},
    header,
};
use crate::streaming::{
    LINGER,
    channel::{Inbound, Outbound, Packet, PacketKind, QUEUE},
};

/// The most streams that may be open at once.
const MOST_STREAMS: usize = 1000;
/// How long a connection may be silent.
const IDLE: Duration = Duration::from_secs(4 * 3600);

/// A stream that the client opened.
#[derive(Debug)]
pub(in crate::streaming) struct Opened {
    /// Its headers, names in lower case.
    pub(in crate::streaming) headers: HashMap<String, String>,
    /// What the client sends on it.
    pub(in crate::streaming) inbound: Inbound,
    /// The way back.
    pub(in crate::streaming) outbound: Outbound,
    /// Comes when the client resets the stream, also after it has ended its own side.
    pub(in crate::streaming) reset: oneshot::Receiver<()>,
}

/// What the reading half asks the writing half to send beside packets.
#[derive(Debug)]
enum Control {
    Accept(u32),
    Refuse(u32, u32),
    Pong(u32),
}

/// Serves a connection: streams that the client opens come out of the channel given to `run`, and the connection is
/// closed when `run` has ended. The end of the client ends every stream.
pub(in crate::streaming) async fn serve<S, F>(io: S, run: impl FnOnce(mpsc::Receiver<Opened>) -> F)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    F: Future<Output = ()>,
{
    let (source, sink) = tokio::io::split(io);
    let (opened, streams) = mpsc::channel(QUEUE);
    let (packets, outgoing) = mpsc::channel(QUEUE);
    let (control, commands) = mpsc::channel(QUEUE);
    let ended = Arc::new(Ended::default());
    let reader = Reader {
        opened,
        packets: packets.downgrade(),
        control,
        inbound: HashMap::new(),
        resets: HashMap::new(),
        headers: header::Reader::new(),
        ended: Arc::clone(&ended),
    };
    let mut halves = JoinSet::new();
    halves.spawn(reader.run(source));
    halves.spawn(async move {
        if let Err(error) = write(sink, outgoing, commands, ended).await {
            tracing::debug!(%error, "a streaming client does not take what is sent");
        }
        Streams::new()
    });
    let open = tokio::select! {
        () = run(streams) => None,
        // The client is gone: dropping `run` lets go of its sessions.
        half = halves.join_next() => half,
    };
    drop(open);
    // The last sender goes: the writer finishes what is queued and closes its half, and the client closes the other.
    drop(packets);
    let closed = async { while halves.join_next().await.is_some() {} };
    let _ = timeout(LINGER, closed).await;
}

/// The streams whose client's side is open. With a stream's sender its input ends, so the senders of a client that is gone
/// outlive its sessions: to a command that would be the end of its input, and it might end in peace before it is killed.
type Streams = HashMap<u32, mpsc::Sender<Bytes>>;

/// Streams whose client's side the writer has reset: what still arrives for them is dropped.
#[derive(Debug, Default)]
struct Ended(Mutex<HashSet<u32>>);

impl Ended {
    fn add(&self, stream: u32) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(stream);
    }

    fn take(&self, stream: u32) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&stream)
    }
}

struct Reader {
    opened: mpsc::Sender<Opened>,
    /// Weak, so that the writer ends when the sessions have.
    packets: mpsc::WeakSender<Packet>,
    control: mpsc::Sender<Control>,
    inbound: Streams,
    resets: HashMap<u32, oneshot::Sender<()>>,
    headers: header::Reader,
    ended: Arc<Ended>,
}

impl Reader {
    /// Reads until the client is gone, and returns the streams that it had open.
    async fn run(mut self, source: impl AsyncRead + Unpin) -> Streams {
        let mut source = BufReader::with_capacity(16 << 10, source);
        loop {
            let frame = match timeout(IDLE, frame::read(&mut source)).await {
                Ok(Ok(Some(frame))) => frame,
                Ok(Ok(None)) | Err(_) => return self.inbound,
                Ok(Err(error)) => {
                    tracing::debug!(%error, "a streaming client's connection broke");
                    return self.inbound;
                }
            };
            if let Err(error) = self.take(frame).await {
                tracing::debug!(%error, "a streaming client broke the protocol");
                return self.inbound;
            }
        }
    }

    async fn take(&mut self, frame: Frame) -> io::Result<()> {
        match frame {
            Frame::SynStream { stream, fin, headers } => self.open(stream, fin, &headers).await,
            Frame::Data { stream, fin, data } => {
                self.deliver(stream, fin, data).await;
                Ok(())
            }
            Frame::RstStream { stream } => {
                self.inbound.remove(&stream);
                let _ = self.resets.remove(&stream).map(|reset| reset.send(()));
                Ok(())
            }
            Frame::Ping { id } => self.command(Control::Pong(id)).await,
            Frame::GoAway | Frame::Other => Ok(()),
        }
    }

    async fn open(&mut self, stream: u32, fin: bool, block: &[u8]) -> io::Result<()> {
        // Every block must be unpacked, as the next one builds on it.
        let headers = self.headers.read(block)?;
        if stream == 0 || self.inbound.contains_key(&stream) {
            return self.command(Control::Refuse(stream, frame::PROTOCOL_ERROR)).await;
        }
        self.inbound.retain(|_, sender| !sender.is_closed());
        self.resets.retain(|_, sender| !sender.is_closed());
        if self.inbound.len() >= MOST_STREAMS {
            return self.command(Control::Refuse(stream, frame::REFUSED_STREAM)).await;
        }
        let (sender, inbound) = mpsc::channel(QUEUE);
        if !fin {
            self.inbound.insert(stream, sender);
        }
        let (resetting, reset) = oneshot::channel();
        self.resets.insert(stream, resetting);
        self.command(Control::Accept(stream)).await?;
        let late = || frame::invalid("a stream came after the session's end");
        let outbound = Outbound { stream, packets: self.packets.upgrade().ok_or_else(late)? };
        self.opened.send(Opened { headers, inbound, outbound, reset }).await.map_err(|_| late())
    }

    async fn deliver(&mut self, stream: u32, fin: bool, data: Bytes) {
        let Some(sender) = self.inbound.get(&stream) else { return };
        let gone = !data.is_empty() && sender.send(data).await.is_err();
        if fin || gone || self.ended.take(stream) {
            self.inbound.remove(&stream);
        }
    }

    async fn command(&self, control: Control) -> io::Result<()> {
        self.control.send(control).await.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

async fn write(
    mut sink: impl AsyncWrite + Unpin,
    mut packets: mpsc::Receiver<Packet>,
    mut commands: mpsc::Receiver<Control>,
    ended: Arc<Ended>,
) -> io::Result<()> {
    let mut headers = header::Writer::new()?;
    let mut out = BytesMut::with_capacity(64);
    let mut last_stream = 0;
    loop {
        out.clear();
        let mut data = Bytes::new();
        tokio::select! {
            // Answers first: a client may wait for the acceptance of its stream before it reads data.
            biased;
            Some(command) = commands.recv() => match command {
                Control::Accept(stream) => {
                    last_stream = stream;
                    frame::put_syn_reply(&mut out, stream, &headers.empty()?);
                }
                Control::Refuse(stream, status) => frame::put_rst_stream(&mut out, stream, status),
                Control::Pong(id) => frame::put_ping(&mut out, id),
            },
            packet = packets.recv() => match packet {
                Some(Packet { stream, kind: PacketKind::Data(bytes) }) => {
                    frame::put_data_head(&mut out, stream, false, bytes.len());
                    data = bytes;
                }
                Some(Packet { stream, kind: PacketKind::End }) => frame::put_data_head(&mut out, stream, true, 0),
                Some(Packet { stream, kind: PacketKind::Reset }) => {
                    ended.add(stream);
                    frame::put_rst_stream(&mut out, stream, frame::CANCEL);
                }
                None => break,
            },
        }
        sink.write_all(&out).await?;
        sink.write_all(&data).await?;
        sink.flush().await?;
    }
    out.clear();
    frame::put_goaway(&mut out, last_stream);
    sink.write_all(&out).await?;
    sink.shutdown().await
}
