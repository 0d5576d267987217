//! A client of the streaming server: HTTP/1.1 upgraded to SPDY/3.1, as kubelet speaks it.
//!
//! Nothing of the engine's own codec is used. The preset dictionary is that of the SPDY/3.1 draft (section 2.6.10.1),
//! in `tests/data/spdy/dictionary`.

use std::collections::{HashMap, HashSet};

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::patience;

const DICTIONARY: &[u8] = include_bytes!("../../data/spdy/dictionary");

/// First half of a control frame's first word: the control bit and the version.
const CONTROL: u16 = 0x8003;
const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const SETTINGS: u16 = 4;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const WINDOW_UPDATE: u16 = 9;
const FIN: u8 = 1;
/// RST_STREAM's status for a stream that is not wanted any more.
const CANCEL: u32 = 5;

/// What the server answers to a request, and the connection behind the answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) connection: TcpStream,
}

impl Answer {
    /// The values of a header, in order.
    pub(crate) fn header(&self, name: &str) -> Vec<&str> {
        let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        fields.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }
}

/// Asks for a URL of the streaming server.
pub(crate) async fn request(url: &str, headers: &[(&str, &str)]) -> Answer {
    let (host, path) = url.strip_prefix("http://").and_then(|rest| rest.split_once('/')).expect("a URL");
    let mut connection = TcpStream::connect(host).await.expect("connect to the streaming server");
    let fields: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let request = format!("POST /{path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n{fields}\r\n");
    connection.write_all(request.as_bytes()).await.expect("send the request");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(connection.read_u8().await.expect("the answer's head"));
    }
    let head = String::from_utf8(head).expect("text");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    Answer { status, head, connection }
}

/// Asks for an upgrade to SPDY and offers protocols for it.
pub(crate) async fn upgrade(url: &str, protocols: &[&str]) -> Answer {
    let mut headers = vec![("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1")];
    headers.extend(protocols.iter().map(|&protocol| ("X-Stream-Protocol-Version", protocol)));
    request(url, &headers).await
}

/// A frame from the server.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    Reply { stream: u32 },
    Data { stream: u32, fin: bool, data: Vec<u8> },
    Reset { stream: u32 },
    Ping { id: u32 },
    GoAway,
}

/// The half of a connection that sends.
pub(crate) struct Sink {
    io: Box<dyn AsyncWrite + Send + Unpin>,
    headers: Compress,
    last_stream: Option<u32>,
}

impl Sink {
    /// Opens a stream and returns its number.
    pub(crate) async fn open(&mut self, headers: &[(&str, &str)]) -> u32 {
        let stream = self.last_stream.map_or(1, |last| last + 2);
        self.last_stream = Some(stream);
        let mut plain = number(headers.len()).to_vec();
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            plain.extend(number(text.len()));
            plain.extend(text.as_bytes());
        }
        let mut block = Vec::with_capacity(plain.len() + 256);
        self.headers.compress_vec(&plain, &mut block, FlushCompress::Sync).expect("pack headers");
        // Behind the number: no stream that it belongs to, priority 0.
        self.control(SYN_STREAM, &[&stream.to_be_bytes(), &[0; 6], &block]).await;
        stream
    }

    /// Sends bytes on a stream.
    pub(crate) async fn data(&mut self, stream: u32, data: &[u8]) {
        self.data_frame(stream, 0, data).await;
    }

    /// Ends the client's side of a stream.
    pub(crate) async fn end(&mut self, stream: u32) {
        self.data_frame(stream, FIN, &[]).await;
    }

    /// Gives a stream up.
    pub(crate) async fn reset(&mut self, stream: u32) {
        self.control(RST_STREAM, &[&stream.to_be_bytes(), &CANCEL.to_be_bytes()]).await;
    }

    /// Asks whether the server lives.
    pub(crate) async fn ping(&mut self, id: u32) {
        self.control(PING, &[&id.to_be_bytes()]).await;
    }

    /// Says how many bytes may be under way on a stream at its beginning: SETTINGS with INITIAL_WINDOW_SIZE (7).
    pub(crate) async fn settings(&mut self, window: u32) {
        self.control(SETTINGS, &[&1u32.to_be_bytes(), &7u32.to_be_bytes(), &window.to_be_bytes()]).await;
    }

    /// Lets more bytes come on a stream.
    pub(crate) async fn window_update(&mut self, stream: u32, more: u32) {
        self.control(WINDOW_UPDATE, &[&stream.to_be_bytes(), &more.to_be_bytes()]).await;
    }

    /// Says that no more streams will come.
    pub(crate) async fn goaway(&mut self) {
        self.control(GOAWAY, &[&[0; 8]]).await;
    }

    /// Sends bytes as they are.
    pub(crate) async fn raw(&mut self, bytes: &[u8]) {
        self.io.write_all(bytes).await.expect("send");
        self.io.flush().await.expect("send");
    }

    async fn control(&mut self, kind: u16, parts: &[&[u8]]) {
        let body = parts.concat();
        let kind = [CONTROL.to_be_bytes(), kind.to_be_bytes()].concat();
        self.raw(&[&kind, &number(body.len())[..], &body].concat()).await;
    }

    async fn data_frame(&mut self, stream: u32, flags: u8, data: &[u8]) {
        let [_, length @ ..] = number(data.len());
        self.raw(&[&stream.to_be_bytes()[..], &[flags], &length, data].concat()).await;
    }
}

/// The half of a connection that receives.
pub(crate) struct Source {
    io: Box<dyn AsyncRead + Send + Unpin>,
    headers: Decompress,
}

impl Source {
    /// The next frame; `None` at the end of the connection. Panics at what no server of Kubernetes sends.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        let first = self.io.read_u32().await.ok()?;
        let word = self.io.read_u32().await.expect("a frame's head");
        let (flags, length) = (word >> 24, word & 0x00ff_ffff);
        let mut body = vec![0; length as usize];
        self.io.read_exact(&mut body).await.expect("a frame's body");
        if first >> 31 == 0 {
            return Some(Frame::Data { stream: first, fin: flags & u32::from(FIN) != 0, data: body });
        }
        assert_eq!(first >> 16, u32::from(CONTROL), "the version");
        let id = u32::from_be_bytes(*body.first_chunk().expect("a frame's number"));
        Some(match (first & 0xffff) as u16 {
            SYN_REPLY => {
                assert_eq!(self.unpack(&body[4..]), [0; 4], "no headers");
                Frame::Reply { stream: id }
            }
            RST_STREAM => Frame::Reset { stream: id },
            PING => Frame::Ping { id },
            GOAWAY => Frame::GoAway,
            other => panic!("a frame of kind {other}"),
        })
    }

    fn unpack(&mut self, block: &[u8]) -> Vec<u8> {
        let mut plain = Vec::with_capacity(1024);
        let start = self.headers.total_in();
        if let Err(error) = self.headers.decompress_vec(block, &mut plain, FlushDecompress::Sync) {
            assert!(error.needs_dictionary().is_some(), "{error}");
            self.headers.set_dictionary(DICTIONARY).expect("the server's dictionary is another one");
            let used = usize::try_from(self.headers.total_in() - start).expect("a short block");
            self.headers.decompress_vec(&block[used..], &mut plain, FlushDecompress::Sync).expect("unpack headers");
        }
        plain
    }
}

fn number(number: usize) -> [u8; 4] {
    u32::try_from(number).expect("less than 4 GiB").to_be_bytes()
}

/// All that a client has heard.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// Bytes by stream.
    data: HashMap<u32, Vec<u8>>,
    /// Streams that the server has accepted.
    pub(crate) accepted: HashSet<u32>,
    /// Streams whose server's side is over.
    pub(crate) ended: HashSet<u32>,
    /// Streams that the server gave up.
    pub(crate) reset: HashSet<u32>,
    pub(crate) pongs: Vec<u32>,
    pub(crate) goaway: bool,
}

impl Heard {
    /// What came on a stream.
    pub(crate) fn text(&self, stream: u32) -> String {
        String::from_utf8_lossy(self.data.get(&stream).map_or(&[], Vec::as_slice)).into_owned()
    }

    fn take(&mut self, frame: Frame) {
        match frame {
            Frame::Reply { stream } => assert!(self.accepted.insert(stream), "stream {stream} is accepted twice"),
            Frame::Data { stream, fin, data } => {
                assert!(self.accepted.contains(&stream), "data on {stream}, which is not accepted");
                assert!(!self.ended.contains(&stream), "data on {stream}, which has ended");
                self.data.entry(stream).or_default().extend(data);
                if fin {
                    self.ended.insert(stream);
                }
            }
            Frame::Reset { stream } => {
                self.reset.insert(stream);
            }
            Frame::Ping { id } => self.pongs.push(id),
            Frame::GoAway => self.goaway = true,
        }
    }
}

/// A connection after its upgrade.
pub(crate) struct Spdy {
    pub(crate) sink: Sink,
    pub(crate) source: Source,
    pub(crate) heard: Heard,
}

impl Spdy {
    /// Connects and is granted one of the protocols, which is returned, too.
    pub(crate) async fn connect(url: &str, protocols: &[&str]) -> (Self, String) {
        let answer = upgrade(url, protocols).await;
        assert_eq!(answer.status, 101, "{answer:?}");
        assert_eq!(answer.header("Upgrade"), ["SPDY/3.1"]);
        let granted = answer.header("X-Stream-Protocol-Version").join(",");
        (Self::over(answer.connection), granted)
    }

    /// Speaks SPDY over a connection that is open.
    pub(crate) fn over(io: impl AsyncRead + AsyncWrite + Send + 'static) -> Self {
        let (source, sink) = tokio::io::split(Box::pin(io));
        let mut headers = Compress::new(Compression::default(), true);
        headers.set_dictionary(DICTIONARY).expect("set the dictionary");
        Self {
            sink: Sink { io: Box::new(sink), headers, last_stream: None },
            source: Source { io: Box::new(source), headers: Decompress::new(true) },
            heard: Heard::default(),
        }
    }

    /// Listens until something was heard.
    pub(crate) async fn hear(&mut self, what: &str, was_heard: impl Fn(&Heard) -> bool) {
        let listen = async {
            while !was_heard(&self.heard) {
                let frame = self.source.next().await;
                self.heard.take(frame.unwrap_or_else(|| panic!("the end before {what}")));
            }
        };
        timeout(patience(30), listen).await.unwrap_or_else(|_| panic!("in vain: {what}"));
    }

    /// Listens until the server closes the connection, which it must have announced.
    pub(crate) async fn hear_out(&mut self) {
        let listen = async {
            while let Some(frame) = self.source.next().await {
                self.heard.take(frame);
            }
        };
        timeout(patience(30), listen).await.expect("the session does not end");
        assert!(self.heard.goaway, "the connection broke: {:?}", self.heard);
    }
}
