//! Exec and attach: a session's streams copied to and from a client's.

use std::{io, time::Duration};

use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::mpsc,
    time::timeout,
};

use super::{
    Session, Size,
    channel::{Gone, Inbound, Outbound},
    status::{self, Form},
};

/// Bytes read at once from a session.
const CHUNK: usize = 32 << 10;
/// How long output is waited for after the process has ended, when something it left behind holds its pipe.
const DRAIN: Duration = Duration::from_secs(2);
/// The longest text of terminal sizes that is kept while it is incomplete.
const LONGEST_RESIZE: usize = 4 << 10;

/// A client's ends of the streams.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) stdin: Option<Inbound>,
    pub(super) stdout: Option<Outbound>,
    pub(super) stderr: Option<Outbound>,
    pub(super) error: Outbound,
    pub(super) resize: Option<Inbound>,
    pub(super) form: Form,
    /// Whether it is told that the session has begun, by an empty message on its first output, as Kubernetes' servers
    /// do over WebSocket.
    pub(super) announce: bool,
}

/// Copies until the session is over and says how it ended; returns early when the client is gone.
pub(super) async fn run(session: Session, client: Client) -> Result<(), Gone> {
    let Session { stdin, stdout, stderr, resize, exit } = session;
    let error = client.error.clone();
    if client.announce {
        client.stdout.as_ref().or(client.stderr.as_ref()).unwrap_or(&error).send(Bytes::new()).await?;
    }
    let form = client.form;
    let outputs =
        async { tokio::try_join!(copy_out(stdout, client.stdout), copy_out(stderr, client.stderr)).map(|_| ()) };
    let inputs = async {
        tokio::join!(copy_in(client.stdin, stdin), copy_sizes(client.resize, resize));
        // Input may end long before the session does.
        std::future::pending::<()>().await;
    };
    let end = tokio::select! {
        end = finish(outputs, exit) => end?,
        () = inputs => return Err(Gone),
        () = error.packets.closed() => return Err(Gone),
    };
    if let Some(message) = status::message(form, &end) {
        error.send(message).await?;
    }
    error.end().await
}

/// Tells a client that there will be no session.
pub(super) async fn refuse(sentence: String, client: Client) -> Result<(), Gone> {
    if let Some(message) = status::message(client.form, &Err(sentence)) {
        client.error.send(message).await?;
    }
    client.error.end().await
}

/// Waits for the exit and then, within bounds, for the rest of the output.
async fn finish(
    outputs: impl Future<Output = Result<(), Gone>>,
    exit: impl Future<Output = Result<i32, String>>,
) -> Result<Result<i32, String>, Gone> {
    tokio::pin!(outputs, exit);
    let end = tokio::select! {
        copied = &mut outputs => {
            copied?;
            return Ok(exit.await);
        }
        end = &mut exit => end,
    };
    match timeout(DRAIN, outputs).await {
        Ok(copied) => copied.map(|()| end),
        Err(_) => Ok(end),
    }
}

/// Copies an output. One that the client did not ask for is read all the same: a process must not fail or wait for that.
async fn copy_out(source: Option<Box<dyn AsyncRead + Send + Unpin>>, sink: Option<Outbound>) -> Result<(), Gone> {
    if let Some(mut source) = source {
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(CHUNK);
            match source.read_buf(&mut buffer).await {
                Ok(0) => break,
                Ok(_) => match &sink {
                    Some(sink) => sink.send(buffer.split().freeze()).await?,
                    None => buffer.clear(),
                },
                Err(error) if is_terminal_end(&error) => break,
                Err(error) => {
                    tracing::debug!(%error, "reading a session's output failed");
                    break;
                }
            }
        }
    }
    match sink {
        Some(sink) => sink.end().await,
        None => Ok(()),
    }
}

/// Reading a terminal whose other side was closed fails with EIO instead of an end of file.
fn is_terminal_end(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EIO)
}

async fn copy_in(source: Option<Inbound>, sink: Option<Box<dyn AsyncWrite + Send + Unpin>>) {
    let (Some(mut source), Some(mut sink)) = (source, sink) else { return };
    while let Some(data) = source.recv().await {
        if sink.write_all(&data).await.is_err() {
            // The process closed its input; what the client still sends is dropped.
            while source.recv().await.is_some() {}
            return;
        }
    }
    let _ = sink.shutdown().await;
}

async fn copy_sizes(source: Option<Inbound>, sink: Option<mpsc::Sender<Size>>) {
    let (Some(mut source), Some(sink)) = (source, sink) else { return };
    let mut text = Vec::new();
    while let Some(data) = source.recv().await {
        text.extend_from_slice(&data);
        for size in take_sizes(&mut text) {
            if sink.send(size).await.is_err() {
                return;
            }
        }
    }
}

#[derive(Deserialize)]
struct SizeMessage {
    #[serde(rename = "Width", default)]
    width: u16,
    #[serde(rename = "Height", default)]
    height: u16,
}

/// Takes the complete sizes off the front of a text that may hold several and end within one.
fn take_sizes(text: &mut Vec<u8>) -> Vec<Size> {
    let mut messages = serde_json::Deserializer::from_slice(text).into_iter::<SizeMessage>();
    let mut sizes = Vec::new();
    let mut complete = 0;
    let mut broken = false;
    while let Some(message) = messages.next() {
        match message {
            Ok(SizeMessage { width, height }) => {
                complete = messages.byte_offset();
                if width > 0 && height > 0 {
                    sizes.push(Size { width, height });
                }
            }
            Err(error) => {
                broken = !error.is_eof();
                break;
            }
        }
    }
    text.drain(..complete);
    if broken || text.len() > LONGEST_RESIZE {
        text.clear();
    }
    sizes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::streaming::channel::{Packet, PacketKind, QUEUE};

    #[test]
    fn sizes_are_read_whole_split_and_joined() {
        let mut text = br#"{"Width":80,"Height":24}{"Width":0,"Height":1}{"Wid"#.to_vec();
        assert_eq!(take_sizes(&mut text), [Size { width: 80, height: 24 }]);
        text.extend_from_slice(br#"th":1,"Height":2}"#);
        assert_eq!(take_sizes(&mut text), [Size { width: 1, height: 2 }]);
        text.extend_from_slice(b"garbage");
        assert_eq!(take_sizes(&mut text), []);
        assert!(text.is_empty());
    }

    #[tokio::test]
    async fn output_comes_before_the_status_and_both_streams_end() {
        let (packets, mut sent) = mpsc::channel(QUEUE);
        let outbound = |stream| Outbound { stream, packets: packets.clone() };
        let session = Session {
            stdin: None,
            stdout: Some(Box::new(&b"out"[..])),
            stderr: None,
            resize: None,
            exit: Box::pin(async { Ok(0) }),
        };
        let client = Client {
            stdin: None,
            stdout: Some(outbound(1)),
            stderr: None,
            error: outbound(3),
            resize: None,
            form: Form::Json,
            announce: true,
        };
        run(session, client).await.unwrap();
        drop(packets);
        let mut seen = Vec::new();
        while let Some(Packet { stream, kind }) = sent.recv().await {
            seen.push(match kind {
                PacketKind::Data(data) => format!("{stream}:{}", String::from_utf8_lossy(&data)),
                PacketKind::End => format!("{stream}:end"),
                PacketKind::Reset => format!("{stream}:reset"),
            });
        }
        assert_eq!(seen[..3], ["1:", "1:out", "1:end"], "the beginning, the output, its end");
        assert!(seen[3].contains("Success"));
        assert_eq!(seen[4], "3:end");
    }

    /// Keeps the helper types honest: bytes go in as they are.
    #[tokio::test]
    async fn input_reaches_the_process_and_its_end_too() {
        let (client, inbound) = mpsc::channel(QUEUE);
        let (near, mut far) = tokio::io::duplex(64);
        client.send(Bytes::from_static(b"in")).await.unwrap();
        drop(client);
        copy_in(Some(inbound), Some(Box::new(near))).await;
        let mut text = String::new();
        far.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "in");
    }
}
