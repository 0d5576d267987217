//! Port-forward: connections to ports of a pod, each over a pair of streams.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::BytesMut;
use futures_util::future::OptionFuture;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::timeout,
};

use super::{
    Backend,
    channel::{Gone, Inbound, Outbound},
    spdy::Opened,
};

/// Bytes read at once from a pod.
const CHUNK: usize = 32 << 10;
/// The most pairs of which one stream is there and the other not yet.
const MOST_HALVES: usize = 128;
/// How long the pod is given to end its side after the client ended its own.
const HALF_CLOSED: Duration = Duration::from_secs(4 * 3600);

/// The pod and what may be asked of it.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) backend: Arc<dyn Backend>,
    pub(super) pod: String,
    /// Ports that may be asked for; empty for any.
    pub(super) ports: Arc<[u16]>,
}

/// The two streams of one forwarded connection.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) port: u16,
    pub(super) data: (Inbound, Outbound),
    pub(super) error: Outbound,
    /// Comes when the client gives the connection up, where a client can say so.
    pub(super) reset: Option<oneshot::Receiver<()>>,
}

impl Pair {
    fn new(port: u16, data: Opened, error: Opened) -> Self {
        Self { port, data: (data.inbound, data.outbound), error: error.outbound, reset: Some(data.reset) }
    }
}

/// Serves a SPDY connection: pairs streams by their request id and forwards each pair.
pub(super) async fn run(target: Target, mut streams: mpsc::Receiver<Opened>) {
    let mut halves: HashMap<String, Opened> = HashMap::new();
    let mut forwards = JoinSet::new();
    loop {
        let opened = tokio::select! {
            opened = streams.recv() => opened,
            Some(_) = forwards.join_next(), if !forwards.is_empty() => continue,
        };
        let Some(opened) = opened else { return };
        let id = request_id(&opened);
        match halves.remove(&id) {
            None if halves.len() < MOST_HALVES => {
                halves.insert(id, opened);
            }
            None => {
                let _ = opened.outbound.reset().await;
            }
            Some(first) => match pair(first, opened) {
                Ok(pair) => {
                    forwards.spawn(forward(target.clone(), pair));
                }
                Err(streams) => {
                    for stream in *streams {
                        let _ = stream.outbound.reset().await;
                    }
                }
            },
        }
    }
}

/// Clients older than request ids open the data stream right after its error stream.
fn request_id(opened: &Opened) -> String {
    opened.headers.get("requestid").cloned().unwrap_or_else(|| {
        let stream = opened.outbound.stream;
        let first = if opened.headers.get("streamtype").is_some_and(|kind| kind == "data") {
            stream.saturating_sub(2)
        } else {
            stream
        };
        format!("stream {first}")
    })
}

/// The two streams of one connection; both of them again when they do not belong together.
fn pair(first: Opened, second: Opened) -> Result<Pair, Box<[Opened; 2]>> {
    let kind = |opened: &Opened| opened.headers.get("streamtype").cloned().unwrap_or_default();
    let port = first.headers.get("port").and_then(|port| port.parse().ok());
    match (kind(&first).as_str(), kind(&second).as_str(), port) {
        ("error", "data", Some(port)) => Ok(Pair::new(port, second, first)),
        ("data", "error", Some(port)) => Ok(Pair::new(port, first, second)),
        _ => Err(Box::new([first, second])),
    }
}

/// Forwards one connection until both sides have ended or the client gives it up; a failure is told on the error stream.
pub(super) async fn forward(target: Target, pair: Pair) {
    let Pair { port, data: (inbound, outbound), error, reset } = pair;
    let connected = if target.ports.is_empty() || target.ports.contains(&port) {
        target.backend.dial(target.pod.clone(), port).await
    } else {
        Err(format!("port {port} was not among those asked for"))
    };
    let result = match connected {
        Ok(connection) => tokio::select! {
            copied = copy(connection, inbound, &outbound) => copied,
            Some(_) = OptionFuture::from(reset) => Ok(()),
        },
        Err(sentence) => {
            let _ = error.send(sentence.into()).await;
            let _ = outbound.reset().await;
            let _ = error.reset().await;
            return;
        }
    };
    if result.is_ok() {
        let _ = error.end().await;
    }
}

async fn copy(connection: TcpStream, mut inbound: Inbound, outbound: &Outbound) -> Result<(), Gone> {
    let (mut source, mut sink) = connection.into_split();
    let to_pod = async {
        while let Some(data) = inbound.recv().await {
            if sink.write_all(&data).await.is_err() {
                break;
            }
        }
        let _ = sink.shutdown().await;
    };
    let from_pod = async {
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(CHUNK);
            match source.read_buf(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(_) => outbound.send(buffer.split().freeze()).await?,
            }
        }
        outbound.end().await
    };
    tokio::pin!(to_pod, from_pod);
    tokio::select! {
        // The pod's side is over; whatever the client still sends has nowhere to go.
        copied = &mut from_pod => copied,
        () = &mut to_pod => timeout(HALF_CLOSED, from_pod).await.unwrap_or(Ok(())),
    }
}
