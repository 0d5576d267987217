//! A registry that does what a test tells it, mostly wrong.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// A request as it was received.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) method: String,
    /// Path and query.
    pub(super) target: String,
    headers: Vec<(String, String)>,
    /// Content, if it is text.
    pub(super) body: String,
    pub(super) body_length: usize,
    /// How many requests came before.
    pub(super) number: usize,
    /// How many connections came before its own.
    pub(super) connection: usize,
}

impl Seen {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// First byte of the range that is asked for, and the one after the last if it is given.
    pub(super) fn range(&self) -> Option<(usize, Option<usize>)> {
        let (first, last) = self.header("range")?.strip_prefix("bytes=")?.split_once('-')?;
        Some((first.parse().ok()?, last.parse::<usize>().ok().map(|last| last + 1)))
    }
}

/// How an answer ends.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ending {
    /// As it should: the connection can be used again.
    Complete,
    /// The connection is closed after the content that is there.
    Closed,
    /// Nothing more comes, for a minute.
    Hanging,
    /// Zeros without end.
    Endless,
    /// The connection is closed without any answer.
    Unanswered,
}

/// An answer.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    content: Bytes,
    /// `Content-Length` header; `None` for an answer that ends with its connection.
    length: Option<u64>,
    ending: Ending,
    /// Before anything is answered.
    delay: Duration,
}

impl Reply {
    pub(super) fn status(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            content: Bytes::new(),
            length: Some(0),
            ending: Ending::Complete,
            delay: Duration::ZERO,
        }
    }

    pub(super) fn ok(content: impl Into<Bytes>) -> Self {
        let content = content.into();
        Self { length: Some(content.len() as u64), content, ..Self::status(200) }
    }

    /// A blob, whole or the range that is asked for.
    pub(super) fn blob(seen: &Seen, content: &Bytes) -> Self {
        let Some((first, end)) = seen.range() else {
            return Self::ok(content.clone()).header("Accept-Ranges", "bytes");
        };
        let end = end.unwrap_or(content.len());
        let range = format!("bytes {first}-{}/{}", end - 1, content.len());
        Self { status: 206, ..Self::ok(content.slice(first..end)).header("Content-Range", &range) }
    }

    pub(super) fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    pub(super) fn redirect(location: &str) -> Self {
        Self::status(307).header("Location", location)
    }

    pub(super) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Another length than the content's, or none.
    pub(super) fn length(mut self, length: Option<u64>) -> Self {
        self.length = length;
        self
    }

    /// Only the beginning of the content, under the length of all of it.
    pub(super) fn cut(mut self, at: usize, ending: Ending) -> Self {
        self.content.truncate(at);
        self.ending = ending;
        self
    }

    pub(super) fn ending(mut self, ending: Ending) -> Self {
        self.ending = ending;
        self
    }

    pub(super) fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }
}

/// The server; it goes away when it is dropped.
pub(super) struct Scripted {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

impl Scripted {
    /// Starts a server that answers each request by `script`, on 127.0.0.1.
    pub(super) async fn start(script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_at("127.0.0.1:0", script).await
    }

    /// Like [`Self::start`], on another address.
    pub(super) async fn start_at(address: &str, script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(address).await.expect("binds");
        let address = listener.local_addr().expect("is bound");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let task = tokio::spawn(accept(listener, Arc::new(script), seen.clone()));
        Self { address, seen, task }
    }

    /// Host and port.
    pub(super) fn host(&self) -> String {
        self.address.to_string()
    }

    /// All requests so far.
    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("not poisoned").clone()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept<S: Fn(&Seen) -> Reply + Send + Sync + 'static>(
    listener: TcpListener,
    script: Arc<S>,
    seen: Arc<Mutex<Vec<Seen>>>,
) {
    let mut connections = tokio::task::JoinSet::new();
    for connection in 0.. {
        let Ok((stream, _)) = listener.accept().await else { return };
        connections.spawn(serve(stream, connection, script.clone(), seen.clone()));
    }
}

/// Serves a connection until either side closes it; errors are the client's business.
async fn serve<S: Fn(&Seen) -> Reply>(
    stream: TcpStream,
    connection: usize,
    script: Arc<S>,
    all: Arc<Mutex<Vec<Seen>>>,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(mut seen) = read(&mut stream, connection).await? {
        {
            let mut all = all.lock().expect("not poisoned");
            seen.number = all.len();
            all.push(seen.clone());
        }
        let reply = script(&seen);
        tokio::time::sleep(reply.delay).await;
        if !matches!(reply.ending, Ending::Unanswered) {
            write(stream.get_mut(), &seen, &reply).await?;
        }
        match reply.ending {
            Ending::Complete if reply.length.is_some() => {}
            Ending::Complete | Ending::Closed | Ending::Unanswered => return Ok(()),
            Ending::Hanging => tokio::time::sleep(Duration::from_secs(60)).await,
            Ending::Endless => loop {
                stream.get_mut().write_all(&[0; 4096]).await?;
            },
        }
    }
    Ok(())
}

async fn read(stream: &mut BufReader<TcpStream>, connection: usize) -> std::io::Result<Option<Seen>> {
    let mut line = String::new();
    // A ClientHello is not text: whoever speaks TLS to us is answered like by any plain server.
    if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
        stream.get_mut().write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await?;
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.push((name.to_owned(), value.to_owned()));
    }
    let mut seen = Seen { method, target, headers, body: String::new(), body_length: 0, number: 0, connection };
    let length = seen.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    seen.body_length = length;
    seen.body = String::from_utf8(body).unwrap_or_default();
    Ok(Some(seen))
}

async fn write(stream: &mut TcpStream, seen: &Seen, reply: &Reply) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {} Scripted\r\n", reply.status);
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    match reply.length {
        Some(length) => head.push_str(&format!("Content-Length: {length}\r\n\r\n")),
        None => head.push_str("Connection: close\r\n\r\n"),
    }
    stream.write_all(head.as_bytes()).await?;
    if seen.method != "HEAD" {
        stream.write_all(&reply.content).await?;
    }
    stream.flush().await
}
