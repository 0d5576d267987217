//! From an async stream to a blocking reader.

use std::io::{self, Read};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    sync::mpsc,
};

/// Chunks between the two sides at most.
const CHUNKS: usize = 4;
/// Bytes that are read from an async reader at once.
const CHUNK: usize = 64 << 10;

/// Makes a bounded channel for the bytes of one stream.
pub(super) fn chunks() -> (ChunkSender, Chunks) {
    let (sender, receiver) = mpsc::channel(CHUNKS);
    (ChunkSender(sender), Chunks { receiver, current: Bytes::new() })
}

/// The async side. Dropping it is the end of the stream for the other side, be it complete or not.
#[derive(Debug)]
pub(super) struct ChunkSender(mpsc::Sender<Bytes>);

/// The reader is gone; it has its own reason to tell.
#[derive(Debug)]
pub(super) struct ReaderGone;

impl ChunkSender {
    /// Hands a chunk on, waiting while too many are under way.
    pub(super) async fn send(&self, chunk: Bytes) -> Result<(), ReaderGone> {
        self.0.send(chunk).await.map_err(|_| ReaderGone)
    }

    /// Hands on all that `source` gives, until its end or that of the reader.
    pub(super) async fn feed(self, mut source: impl AsyncRead + Unpin) -> io::Result<()> {
        loop {
            let mut chunk = BytesMut::with_capacity(CHUNK);
            if source.read_buf(&mut chunk).await? == 0 || self.send(chunk.freeze()).await.is_err() {
                return Ok(());
            }
        }
    }
}

/// The blocking side.
#[derive(Debug)]
pub(super) struct Chunks {
    receiver: mpsc::Receiver<Bytes>,
    current: Bytes,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.receiver.blocking_recv() {
                Some(chunk) => self.current = chunk,
                None => return Ok(0),
            }
        }
        let length = self.current.len().min(buffer.len());
        self.current.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}
