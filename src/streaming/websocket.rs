//! WebSocket: remotecommand's channels (a first byte that names the stream), port-forward's legacy channels, and the
//! tunnel that carries SPDY in binary messages.

use std::{collections::HashMap, io};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::{Sink, SinkExt as _, Stream, StreamExt as _};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, DuplexStream},
    sync::mpsc,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error as WsError, Message, Utf8Bytes,
        protocol::{CloseFrame, Role, frame::coding::CloseCode},
    },
};

use super::{
    LINGER, Streams,
    channel::{Gone, Outbound, Packet, PacketKind, QUEUE},
    portforward::{Pair, Target, forward},
    remote::Client,
    status::Form,
};

/// Channel numbers of remotecommand.
const STDIN: u32 = 0;
const STDOUT: u32 = 1;
const STDERR: u32 = 2;
const ERROR: u32 = 3;
const RESIZE: u32 = 4;
/// In v5, a client's message on this channel names a channel that it closes.
const CLOSE: u8 = 255;

/// Subprotocol of the SPDY tunnel.
pub(super) const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
/// Room between the tunnel's two ends.
const TUNNEL_ROOM: usize = 64 << 10;

/// How channels are written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Protocol {
    /// Its name in the handshake.
    pub(super) name: &'static str,
    base64: bool,
    close: bool,
    form: Form,
}

/// What is spoken, the best first.
const PROTOCOLS: [Protocol; 5] = [
    Protocol { name: "v5.channel.k8s.io", base64: false, close: true, form: Form::Json },
    Protocol { name: "v4.channel.k8s.io", base64: false, close: false, form: Form::Json },
    Protocol { name: "v4.base64.channel.k8s.io", base64: true, close: false, form: Form::Json },
    Protocol { name: "channel.k8s.io", base64: false, close: false, form: Form::Text },
    Protocol { name: "base64.channel.k8s.io", base64: true, close: false, form: Form::Text },
];

#[cfg(any(test, feature = "fuzzing"))]
impl Protocol {
    /// One of them, whatever the number.
    pub(super) fn numbered(number: usize) -> Self {
        PROTOCOLS[number % PROTOCOLS.len()]
    }
}

/// The protocol that both sides know; the plain one for a client that names none.
pub(super) fn choose(offered: &[&str]) -> Option<Protocol> {
    if offered.is_empty() {
        return Some(PROTOCOLS[3]);
    }
    PROTOCOLS.into_iter().find(|known| offered.contains(&known.name))
}

/// A connection after its handshake.
pub(super) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(io: S) -> WebSocketStream<S> {
    WebSocketStream::from_raw_socket(io, Role::Server, None).await
}

/// Serves exec or attach; `run` gets the client's ends of the streams.
pub(super) async fn serve_remote<S, F>(
    socket: WebSocketStream<S>,
    protocol: Protocol,
    streams: Streams,
    run: impl FnOnce(Client) -> F,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Future<Output = Result<(), Gone>>,
{
    let (packets, outgoing) = mpsc::channel(QUEUE);
    let outbound = |stream| Outbound { stream, packets: packets.clone() };
    let mut inbound = HashMap::new();
    let mut open = |stream| {
        let (sender, receiver) = mpsc::channel(QUEUE);
        inbound.insert(stream, sender);
        receiver
    };
    let client = Client {
        stdin: streams.stdin.then(|| open(STDIN)),
        stdout: streams.stdout.then(|| outbound(STDOUT)),
        stderr: (streams.stderr && !streams.tty).then(|| outbound(STDERR)),
        error: outbound(ERROR),
        resize: streams.tty.then(|| open(RESIZE)),
        form: protocol.form,
        announce: true,
    };
    drop(packets);
    drive(socket, protocol, inbound, outgoing, run(client)).await;
}

/// Serves the legacy port-forward: two channels for each port, in the order asked for, each begun by the server with
/// the port's number.
pub(super) async fn serve_ports<S>(socket: WebSocketStream<S>, protocol: Protocol, target: Target, ports: Vec<u16>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (packets, outgoing) = mpsc::channel(QUEUE);
    let mut inbound = HashMap::new();
    let mut pairs = Vec::new();
    for (port, stream) in ports.into_iter().zip((0u32..).step_by(2)) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        inbound.insert(stream, sender);
        let outbound = |stream| Outbound { stream, packets: packets.clone() };
        pairs.push(Pair { port, data: (receiver, outbound(stream)), error: outbound(stream + 1), reset: None });
    }
    drop(packets);
    let run = async move {
        let forwards = pairs.into_iter().map(|pair| {
            let target = target.clone();
            async move {
                let announced = Bytes::copy_from_slice(&pair.port.to_le_bytes());
                pair.data.1.send(announced.clone()).await?;
                pair.error.send(announced).await?;
                forward(target, pair).await;
                Ok(())
            }
        });
        futures_util::future::try_join_all(forwards).await.map(|_| ())
    };
    drive(socket, protocol, inbound, outgoing, run).await;
}

/// Copies between the socket and the queues until `run` is over or the client is gone.
async fn drive<S>(
    socket: WebSocketStream<S>,
    protocol: Protocol,
    inbound: HashMap<u32, mpsc::Sender<Bytes>>,
    outgoing: mpsc::Receiver<Packet>,
    run: impl Future<Output = Result<(), Gone>>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sink, source) = socket.split();
    let reading = read(source, protocol, inbound);
    let writing = tokio::spawn(write(sink, protocol, outgoing));
    tokio::select! {
        _ = run => {}
        () = reading => {}
    }
    // `run` and its senders are gone: the writer sends what is queued, says goodbye and ends.
    let _ = tokio::time::timeout(LINGER, writing).await;
}

async fn read(
    mut source: impl Stream<Item = Result<Message, WsError>> + Unpin,
    protocol: Protocol,
    mut inbound: HashMap<u32, mpsc::Sender<Bytes>>,
) {
    while let Some(Ok(message)) = source.next().await {
        let Some((channel, data)) = decode(protocol, message) else { continue };
        if protocol.close && channel == CLOSE {
            data.first().map(|closed| inbound.remove(&u32::from(*closed)));
        } else if let Some(sender) = inbound.get(&u32::from(channel))
            && !data.is_empty()
            && sender.send(data).await.is_err()
        {
            inbound.remove(&u32::from(channel));
        }
    }
}

/// The channel of a message and its bytes; `None` for messages that carry none.
fn decode(protocol: Protocol, message: Message) -> Option<(u8, Bytes)> {
    let mut payload = match message {
        Message::Binary(payload) => payload,
        Message::Text(text) => Bytes::from(text),
        _ => return None,
    };
    if payload.is_empty() {
        return None;
    }
    let first = payload.split_to(1)[0];
    if !protocol.base64 {
        return Some((first, payload));
    }
    let channel = first.checked_sub(b'0').filter(|channel| *channel <= 9)?;
    Some((channel, BASE64.decode(&payload).ok()?.into()))
}

fn encode(protocol: Protocol, packet: Packet) -> Option<Message> {
    let Packet { stream, kind } = packet;
    let channel = u8::try_from(stream).ok()?;
    let data = match kind {
        PacketKind::Data(data) => data,
        // Only clients close channels; the server's end with the connection.
        PacketKind::End | PacketKind::Reset => return None,
    };
    if protocol.base64 {
        return Some(Message::Text(format!("{channel}{}", BASE64.encode(&data)).into()));
    }
    let mut payload = BytesMut::with_capacity(data.len() + 1);
    payload.put_u8(channel);
    payload.put_slice(&data);
    Some(Message::Binary(payload.freeze()))
}

async fn write(
    mut sink: impl Sink<Message, Error = WsError> + Unpin,
    protocol: Protocol,
    mut outgoing: mpsc::Receiver<Packet>,
) -> Result<(), WsError> {
    while let Some(packet) = outgoing.recv().await {
        if let Some(message) = encode(protocol, packet) {
            sink.send(message).await?;
        }
    }
    // Clients take a close without a status for a broken connection.
    let goodbye = CloseFrame { code: CloseCode::Normal, reason: Utf8Bytes::default() };
    sink.send(Message::Close(Some(goodbye))).await?;
    sink.close().await
}

/// Turns binary messages into a byte stream, for a SPDY connection inside. The returned task ends with the socket.
pub(super) fn tunnel<S>(socket: WebSocketStream<S>) -> DuplexStream
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (near, far) = tokio::io::duplex(TUNNEL_ROOM);
    tokio::spawn(async move {
        let (mut sink, mut source) = socket.split();
        let (mut from_inside, mut to_inside) = tokio::io::split(far);
        let inward = async {
            while let Some(Ok(message)) = source.next().await {
                if let Message::Binary(data) = message
                    && to_inside.write_all(&data).await.is_err()
                {
                    break;
                }
            }
            let _ = to_inside.shutdown().await;
        };
        let outward = async {
            let mut buffer = BytesMut::with_capacity(TUNNEL_ROOM);
            while read_some(&mut from_inside, &mut buffer).await? > 0 {
                sink.send(Message::Binary(buffer.split().freeze())).await.map_err(io::Error::other)?;
            }
            sink.close().await.map_err(io::Error::other)
        };
        let _: (_, io::Result<()>) = tokio::join!(inward, outward);
    });
    near
}

async fn read_some(source: &mut (impl AsyncRead + Unpin), buffer: &mut BytesMut) -> io::Result<usize> {
    buffer.reserve(TUNNEL_ROOM);
    tokio::io::AsyncReadExt::read_buf(source, buffer).await
}

/// The legacy port-forward names its ports in the query.
pub(super) fn ports_in(query: &str) -> Vec<u16> {
    query
        .split('&')
        .filter_map(|part| part.strip_prefix("port="))
        .flat_map(|list| list.split(','))
        .filter_map(|port| port.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_protocol_that_both_know_is_chosen() {
        assert_eq!(choose(&["v4.channel.k8s.io", "v5.channel.k8s.io"]).unwrap().name, "v5.channel.k8s.io");
        assert_eq!(choose(&["base64.channel.k8s.io"]).unwrap().name, "base64.channel.k8s.io");
        assert_eq!(choose(&[]).unwrap().name, "channel.k8s.io");
        assert_eq!(choose(&["v9.channel.k8s.io"]), None);
    }

    #[test]
    fn channels_are_numbers_or_digits() {
        let (binary, text) = (PROTOCOLS[1], PROTOCOLS[2]);
        let message = Message::Binary(Bytes::from_static(b"\x00hi"));
        assert_eq!(decode(binary, message), Some((0, Bytes::from_static(b"hi"))));
        assert_eq!(decode(text, Message::Text("0aGk=".into())), Some((0, Bytes::from_static(b"hi"))));
        assert_eq!(decode(text, Message::Text("0!!!".into())), None);
        assert_eq!(decode(binary, Message::Binary(Bytes::new())), None);
        let sent = encode(text, Packet { stream: 1, kind: PacketKind::Data(Bytes::from_static(b"hi")) });
        assert_eq!(sent, Some(Message::Text("1aGk=".into())));
        assert_eq!(encode(PROTOCOLS[0], Packet { stream: 1, kind: PacketKind::End }), None);
    }

    #[test]
    fn ports_come_as_a_list_or_one_by_one() {
        assert_eq!(ports_in("port=80,443&x=1&port=8080"), [80, 443, 8080]);
        assert_eq!(ports_in(""), Vec::<u16>::new());
    }
}
