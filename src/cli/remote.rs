//! A session with a process in a container: our standard streams are its, over the engine's streaming server.
//!
//! What is spoken is Kubernetes' `v5.channel.k8s.io` over WebSocket: the first byte of each message names a channel.

use std::{
    io::{self, Read as _, Write as _},
    thread,
};

use clap::Args;
use futures_util::{Sink, SinkExt as _, Stream, StreamExt as _, future::ready, stream};
use serde::Deserialize;
use tokio::{
    net::TcpStream,
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{self, Message, client::IntoClientRequest as _, http::HeaderValue},
};

use super::{error::Error, terminal};

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const STATUS: u8 = 3;
const RESIZE: u8 = 4;
/// A message on this channel names a channel that its sender closes.
const CLOSE: u8 = 255;

const PROTOCOL: &str = "v5.channel.k8s.io";
/// Bytes of input that are sent at once.
const CHUNK: usize = 32 << 10;

/// How much of a person's terminal a process gets.
#[derive(Debug, Default, Clone, Copy, Args)]
pub(super) struct Interaction {
    /// Pass standard input on
    #[arg(short, long)]
    pub(super) interactive: bool,
    /// Give the command a terminal
    #[arg(short, long)]
    pub(super) tty: bool,
}

impl Interaction {
    /// Whether there is more to it than to watch.
    pub(super) fn is_any(self) -> bool {
        self.interactive || self.tty
    }
}

/// A session that is open: from now on nothing is lost that the process writes.
#[derive(Debug)]
pub(super) struct Remote {
    socket: WebSocketStream<TcpStream>,
    interaction: Interaction,
    /// What came when it was opened.
    first: Message,
}

impl Remote {
    /// Opens the session that waits at a URL of the streaming server.
    pub(super) async fn open(url: &str, interaction: Interaction) -> Result<Self, Error> {
        let failed = |source| Error::Stream { source: Box::new(source) };
        let address = url.strip_prefix("http://").and_then(|rest| rest.split('/').next()).unwrap_or_default();
        let connection = TcpStream::connect(address).await.map_err(|error| failed(error.into()))?;
        let _ = connection.set_nodelay(true);
        let mut request = url.replacen("http://", "ws://", 1).into_client_request().map_err(failed)?;
        request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(PROTOCOL));
        let (mut socket, _) = client_async(request, connection).await.map_err(failed)?;
        // The engine says when the session has begun, or why it has not.
        let first = socket.next().await.ok_or(Error::Lost)?.map_err(failed)?;
        Ok(Self { socket, interaction, first })
    }

    /// Passes everything on until the session's end; returns the exit code of its process (0 after an attachment).
    ///
    /// # Errors
    /// [`Error::Remote`] with the engine's sentence when the process could not be run.
    pub(super) async fn run(self) -> Result<i32, Error> {
        let Self { socket, interaction, first } = self;
        let _raw = match interaction {
            Interaction { interactive: true, tty: true } => terminal::Raw::enter().map_err(Error::Terminal)?,
            _ => None,
        };
        let (to_engine, from_engine) = socket.split();
        let keys = if interaction.interactive { read_stdin() } else { mpsc::channel(1).1 };
        // Each direction goes on while the other one waits: a process may need its output read before it reads on.
        tokio::select! {
            end = receive(stream::once(ready(Ok(first))).chain(from_engine)) => end,
            Err(error) = send(to_engine, interaction, keys) => Err(error),
        }
    }
}

/// Reads standard input on a thread of its own, which no runtime has to wait for when the session is over.
fn read_stdin() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(1);
    thread::spawn(move || {
        loop {
            let mut chunk = vec![0; CHUNK];
            match io::stdin().read(&mut chunk) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Ok(0) | Err(_) => return,
                Ok(length) => chunk.truncate(length),
            }
            if sender.blocking_send(chunk).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Sends input, its end, and the terminal's size whenever it changes. Ends only when the connection is gone.
async fn send(
    mut socket: impl Sink<Message, Error = tungstenite::Error> + Unpin,
    interaction: Interaction,
    mut keys: mpsc::Receiver<Vec<u8>>,
) -> Result<(), Error> {
    let mut resized = signal(SignalKind::window_change()).map_err(Error::Runtime)?;
    let mut send = async |message: Vec<u8>| match socket.send(Message::Binary(message.into())).await {
        // The receiving half sees why.
        Err(tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed) => std::future::pending().await,
        other => other.map_err(|source| Error::Stream { source: Box::new(source) }),
    };
    let mut typing = interaction.interactive;
    if let Some(size) = terminal_size(interaction) {
        send(size).await?;
    }
    loop {
        tokio::select! {
            chunk = keys.recv(), if typing => match chunk {
                Some(chunk) => send([&[STDIN], chunk.as_slice()].concat()).await?,
                None => {
                    typing = false;
                    send(vec![CLOSE, STDIN]).await?;
                }
            },
            _ = resized.recv() => {
                if let Some(size) = terminal_size(interaction) {
                    send(size).await?;
                }
            }
        }
    }
}

fn terminal_size(interaction: Interaction) -> Option<Vec<u8>> {
    let (columns, rows) = terminal::size().filter(|_| interaction.tty)?;
    let size = serde_json::json!({"Width": columns, "Height": rows}).to_string();
    Some([&[RESIZE], size.as_bytes()].concat())
}

/// Writes output as it comes, and returns what the engine says at the end.
async fn receive(mut socket: impl Stream<Item = Result<Message, tungstenite::Error>> + Unpin) -> Result<i32, Error> {
    let mut end = None;
    while let Some(message) = socket.next().await {
        let bytes = match message.map_err(|source| Error::Stream { source: Box::new(source) })? {
            Message::Binary(bytes) => bytes,
            Message::Close(_) => break,
            _ => continue,
        };
        match bytes.split_first() {
            Some((&STDOUT, text)) => super::print(text)?,
            Some((&STDERR, text)) => io::stderr().write_all(text).map_err(Error::Output)?,
            Some((&STATUS, text)) => end = Some(exit_code(text)),
            _ => {}
        }
    }
    end.unwrap_or(Err(Error::Lost))
}

/// What the channel of the status says: Kubernetes' `Status`.
#[derive(Debug, Deserialize)]
struct Status {
    status: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    details: Details,
}

#[derive(Debug, Default, Deserialize)]
struct Details {
    #[serde(default)]
    causes: Vec<Cause>,
}

#[derive(Debug, Deserialize)]
struct Cause {
    #[serde(default)]
    reason: String,
    #[serde(default)]
    message: String,
}

fn exit_code(status: &[u8]) -> Result<i32, Error> {
    let status: Status = serde_json::from_slice(status).map_err(|_| Error::Lost)?;
    let code = status.details.causes.iter().find(|cause| cause.reason == "ExitCode");
    match (status.status.as_str(), code.map(|cause| cause.message.parse())) {
        ("Success", _) => Ok(0),
        (_, Some(Ok(code))) => Ok(code),
        _ => Err(Error::Remote { sentence: status.message }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_tells_success_code_or_failure() {
        assert!(matches!(exit_code(br#"{"metadata":{},"status":"Success"}"#), Ok(0)));
        let failed = br#"{"status":"Failure","reason":"NonZeroExitCode","message":"command terminated",
            "details":{"causes":[{"reason":"ExitCode","message":"7"}]}}"#;
        assert!(matches!(exit_code(failed), Ok(7)));
        let refused = exit_code(br#"{"status":"Failure","message":"no","details":{"causes":[{"message":"no"}]}}"#);
        assert!(matches!(refused, Err(Error::Remote { sentence }) if sentence == "no"));
        assert!(matches!(exit_code(b"?"), Err(Error::Lost)));
    }
}
