//! A client of the streaming server over WebSocket: channels named by the first byte of each message.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, client::IntoClientRequest as _, http::HeaderValue},
};

use super::{Daemon, exec_url, patience};

pub(crate) const STDIN: u8 = 0;
pub(crate) const STDOUT: u8 = 1;
pub(crate) const STDERR: u8 = 2;
const ERROR: u8 = 3;
pub(crate) const RESIZE: u8 = 4;
/// In v5, a message on this channel names a channel that ends.
pub(crate) const CLOSE: u8 = 255;

/// A client of one protocol.
pub(crate) struct Client {
    socket: WebSocketStream<TcpStream>,
    is_base64: bool,
    /// What has come on each channel that a server sends on.
    heard: [Vec<u8>; 4],
}

/// Connects to a URL of the streaming server and is granted a protocol.
pub(crate) async fn connect(url: &str, protocol: &str) -> WebSocketStream<TcpStream> {
    let mut request = url.replacen("http://", "ws://", 1).into_client_request().expect("a request");
    let address = request.uri().authority().expect("an address").to_string();
    request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_str(protocol).expect("a protocol"));
    let connection = TcpStream::connect(address).await.expect("connect");
    let (socket, answer) = client_async(request, connection).await.expect("a handshake");
    assert_eq!(answer.headers()["sec-websocket-protocol"], protocol);
    socket
}

impl Client {
    pub(crate) async fn exec(daemon: &Daemon, id: &str, protocol: &str, command: &[&str], streams: &[&str]) -> Self {
        let socket = connect(&exec_url(daemon, id, command, streams).await, protocol).await;
        Self { socket, is_base64: protocol.contains("base64"), heard: Default::default() }
    }

    pub(crate) async fn send(&mut self, channel: u8, data: &[u8]) {
        let message = match self.is_base64 {
            true => Message::Text(format!("{channel}{}", BASE64.encode(data)).into()),
            false => Message::Binary([&[channel], data].concat().into()),
        };
        self.socket.send(message).await.expect("send");
    }

    /// Takes one message in; `false` at the end, which the server must have announced.
    async fn listen(&mut self) -> bool {
        let message = tokio::time::timeout(patience(30), self.socket.next()).await.expect("a message in time");
        let (channel, data) = match message.expect("a farewell before the end").expect("a message") {
            Message::Close(farewell) => {
                assert_eq!(u16::from(farewell.expect("a reason").code), 1000);
                return false;
            }
            Message::Text(text) if self.is_base64 => {
                let (channel, data) = text.split_at(1);
                (channel.parse().expect("a digit"), BASE64.decode(data).expect("base64"))
            }
            Message::Binary(bytes) if !self.is_base64 => (bytes[0], bytes[1..].to_vec()),
            other => panic!("{other:?}"),
        };
        self.heard[usize::from(channel)].extend(data);
        true
    }

    pub(crate) async fn hear(&mut self, channel: u8, text: &str) {
        while !self.text(channel).contains(text) {
            assert!(self.listen().await, "the end before {text}");
        }
    }

    /// Listens to the end; returns what was said of it.
    pub(crate) async fn finish(&mut self) -> String {
        while self.listen().await {}
        self.text(ERROR)
    }

    pub(crate) fn text(&self, channel: u8) -> String {
        String::from_utf8_lossy(&self.heard[usize::from(channel)]).into_owned()
    }
}
