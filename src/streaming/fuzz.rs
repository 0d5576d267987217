//! Fuzz targets of streaming sessions: a client's bytes against a whole connection.

use std::future::pending;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
    task::JoinSet,
};

use super::{
    Session, Streams,
    remote::{self, Client},
    spdy,
    websocket::{self, Protocol},
};

/// Room between the client and the server.
const ROOM: usize = 64 << 10;

/// SPDY: every stream is echoed. What the server sends are whole frames.
pub(crate) fn spdy(input: &[u8]) {
    let sent = talk(input, async |server| {
        spdy::serve(server, |mut streams| async move {
            let mut echoes = JoinSet::new();
            while let Some(mut stream) = streams.recv().await {
                echoes.spawn(async move {
                    while let Some(data) = stream.inbound.recv().await {
                        if stream.outbound.send(data).await.is_err() {
                            return;
                        }
                    }
                    let _ = stream.outbound.end().await;
                });
            }
            echoes.join_all().await;
        })
        .await;
    });
    block_on(spdy::fuzz::check_frames(&sent));
}

/// WebSocket: the first byte picks the protocol and the streams, the others are a client's after its handshake.
pub(crate) fn websocket(input: &[u8]) {
    let Some((choice, input)) = input.split_first() else { return };
    let protocol = Protocol::numbered(usize::from(choice & 7));
    let streams = Streams { stdin: choice & 8 != 0, stdout: true, stderr: choice & 16 != 0, tty: choice & 32 != 0 };
    let sent = talk(input, async |server| {
        let socket = websocket::accept(server).await;
        websocket::serve_remote(socket, protocol, streams, |client: Client| remote::run(session(), client)).await;
    });
    // A server's frames are not masked: the second byte is a length.
    assert!(sent.get(1).is_none_or(|length| length & 0x80 == 0), "the server masks what it sends");
}

/// A session that lasts until its client is gone.
fn session() -> Session {
    Session {
        stdin: Some(Box::new(tokio::io::sink())),
        stdout: Some(Box::new(&b"output"[..])),
        stderr: Some(Box::new(&b"error"[..])),
        resize: Some(tokio::sync::mpsc::channel(1).0),
        exit: Box::pin(pending()),
    }
}

/// Sends `input` as a client that then ends its side; returns what the server sent. The server must end, too.
fn talk(input: &[u8], serve: impl AsyncFnOnce(DuplexStream)) -> Vec<u8> {
    block_on(async {
        let (client, server) = duplex(ROOM);
        let (mut source, mut sink) = tokio::io::split(client);
        let mut sent = Vec::new();
        let send = async {
            // The server may be gone before it has read all.
            let _ = sink.write_all(input).await;
            let _ = sink.shutdown().await;
        };
        let receive = source.read_to_end(&mut sent);
        let (_, received, ()) = tokio::join!(send, receive, serve(server));
        received.expect("a duplex stream does not fail");
        sent
    })
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}
