//! Fuzz target of the connections on the engine's socket.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

use super::Connection;

/// A connection passes on the same bytes, or refuses them, however they are cut.
pub(crate) fn http2(input: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let whole = runtime.block_on(passed_on(input, 1 << 20));
    let pieces = runtime.block_on(passed_on(input, 7));
    assert!(whole == pieces, "cut into pieces, it is not the same");
}

/// What comes out, unless the connection was refused.
async fn passed_on(input: &[u8], piece: usize) -> Option<Vec<u8>> {
    let (mut client, server) = duplex(piece);
    let send = async move {
        // The connection may be given up before all is written.
        let _ = client.write_all(input).await;
    };
    let receive = async move {
        let mut received = Vec::new();
        Connection::new(server).read_to_end(&mut received).await.ok().map(|_| received)
    };
    tokio::join!(send, receive).1
}
