//! Exec over WebSocket: channels named by the first byte of each message.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, client::IntoClientRequest as _, http::HeaderValue},
};

use super::{code_in, exec_url};
use crate::support::{Daemon, patience};

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
/// In v5, a message on this channel names a channel that ends.
const CLOSE: u8 = 255;

/// A client of one protocol.
struct Client {
    socket: WebSocketStream<TcpStream>,
    is_base64: bool,
    /// What has come on each channel that a server sends on.
    heard: [Vec<u8>; 4],
}

/// Connects to a URL of the streaming server and is granted a protocol.
pub(super) async fn connect(url: &str, protocol: &str) -> WebSocketStream<TcpStream> {
    let mut request = url.replacen("http://", "ws://", 1).into_client_request().expect("a request");
    let address = request.uri().authority().expect("an address").to_string();
    request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_str(protocol).expect("a protocol"));
    let connection = TcpStream::connect(address).await.expect("connect");
    let (socket, answer) = client_async(request, connection).await.expect("a handshake");
    assert_eq!(answer.headers()["sec-websocket-protocol"], protocol);
    socket
}

impl Client {
    async fn exec(daemon: &Daemon, id: &str, protocol: &str, command: &[&str], streams: &[&str]) -> Self {
        let socket = connect(&exec_url(daemon, id, command, streams).await, protocol).await;
        Self { socket, is_base64: protocol.contains("base64"), heard: Default::default() }
    }

    async fn send(&mut self, channel: u8, data: &[u8]) {
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

    async fn hear(&mut self, channel: u8, text: &str) {
        while !self.text(channel).contains(text) {
            assert!(self.listen().await, "the end before {text}");
        }
    }

    /// Listens to the end; returns what was said of it.
    async fn finish(&mut self) -> String {
        while self.listen().await {}
        self.text(ERROR)
    }

    fn text(&self, channel: u8) -> String {
        String::from_utf8_lossy(&self.heard[usize::from(channel)]).into_owned()
    }
}

#[tokio::test]
async fn each_protocol_has_its_channels_and_its_way_to_tell_the_end() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let (_, id) = daemon.run_sleeper().await;
    let command = ["sh", "-c", "read word; echo got $word; echo err >&2; exit 5"];
    for protocol in ["v5.channel.k8s.io", "v4.channel.k8s.io", "v4.base64.channel.k8s.io"] {
        let mut client = Client::exec(&daemon, &id, protocol, &command, &["stdin", "stdout", "stderr"]).await;
        client.send(STDIN, b"wo").await;
        client.send(STDIN, b"rd\n").await;
        let status = client.finish().await;
        assert_eq!(code_in(&status), 5, "{protocol}");
        assert_eq!((client.text(STDOUT), client.text(STDERR)), ("got word\n".into(), "err\n".into()), "{protocol}");
        let mut client = Client::exec(&daemon, &id, protocol, &["true"], &["stdout"]).await;
        assert_eq!(code_in(&client.finish().await), 0, "{protocol}");
    }
    for protocol in ["channel.k8s.io", "base64.channel.k8s.io"] {
        let mut client = Client::exec(&daemon, &id, protocol, &command, &["stdin", "stdout", "stderr"]).await;
        client.send(STDIN, b"word\n").await;
        assert_eq!(client.finish().await, "command terminated with exit code 5", "{protocol}");
        assert_eq!(client.text(STDOUT), "got word\n", "{protocol}");
    }
}

#[tokio::test]
async fn version_5_ends_input_and_keeps_the_outputs() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let (_, id) = daemon.run_sleeper().await;
    let command = ["sh", "-c", "cat; echo over"];
    let mut client = Client::exec(&daemon, &id, "v5.channel.k8s.io", &command, &["stdin", "stdout"]).await;
    client.send(STDIN, b"in\n").await;
    client.hear(STDOUT, "in\n").await;
    client.send(CLOSE, &[STDIN]).await;
    assert_eq!(code_in(&client.finish().await), 0);
    assert_eq!(client.text(STDOUT), "in\nover\n");
}

#[tokio::test]
async fn a_terminal_takes_its_size_from_a_channel() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let (_, id) = daemon.run_sleeper().await;
    let script = r#"until [ "$(stty size)" = "40 100" ]; do sleep 0.05; done; exit 3"#;
    for protocol in ["v4.channel.k8s.io", "v4.base64.channel.k8s.io"] {
        let command = ["sh", "-c", script];
        let mut client = Client::exec(&daemon, &id, protocol, &command, &["stdout", "resize"]).await;
        client.send(RESIZE, br#"{"Width":100,"Height":40}"#).await;
        assert_eq!(code_in(&client.finish().await), 3, "{protocol}");
    }
}
