//! A bounded pipe of blocks between two threads of a layer's pipeline.

use std::{
    io::{self, BufRead, Read},
    sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel},
};

use crate::types::Digest;

/// Bytes in a block.
const BLOCK: usize = 128 << 10;
/// Blocks that are under way at most.
const BLOCKS: usize = 4;

/// Makes a pipe.
pub(super) fn pipe() -> (BlockWriter, BlockReader) {
    let (blocks, received) = sync_channel(BLOCKS);
    let (returned, empty) = channel();
    let reader = BlockReader {
        blocks: received,
        returned,
        current: Vec::new(),
        position: 0,
        ended: false,
        hash: ring::digest::Context::new(&ring::digest::SHA256),
    };
    (BlockWriter { blocks, empty }, reader)
}

/// The end that blocks are put into. Dropping it without [`Self::finish`] makes the reader fail.
#[derive(Debug)]
pub(super) struct BlockWriter {
    blocks: SyncSender<Option<Vec<u8>>>,
    empty: Receiver<Vec<u8>>,
}

/// The reader is gone: nobody wants more.
#[derive(Debug)]
pub(super) struct ReaderGone;

impl BlockWriter {
    /// An empty block to be filled.
    pub(super) fn block(&self) -> Vec<u8> {
        self.empty.try_recv().unwrap_or_else(|_| Vec::with_capacity(BLOCK))
    }

    /// Hands a block on, waiting while too many are under way.
    pub(super) fn send(&self, block: Vec<u8>) -> Result<(), ReaderGone> {
        self.blocks.send(Some(block)).map_err(|_| ReaderGone)
    }

    /// Tells the reader that this is all.
    pub(super) fn finish(self) {
        // A reader that is gone needs no end.
        let _ = self.blocks.send(None);
    }
}

/// Fills `block` from `source` up to its capacity; leaves it empty at the end of the source.
pub(super) fn fill(block: &mut Vec<u8>, source: &mut impl Read) -> io::Result<()> {
    block.clear();
    source.take(BLOCK as u64).read_to_end(block).map(drop)
}

/// The end that blocks come out of as a stream, whose digest is computed on the way.
pub(super) struct BlockReader {
    blocks: Receiver<Option<Vec<u8>>>,
    returned: Sender<Vec<u8>>,
    current: Vec<u8>,
    position: usize,
    ended: bool,
    hash: ring::digest::Context,
}

impl BlockReader {
    /// Digest of all that has come through.
    pub(super) fn digest(self) -> Digest {
        digest(self.hash)
    }
}

impl BufRead for BlockReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.position == self.current.len() && !self.ended {
            // The writer may be gone already; then the block is simply freed.
            let _ = self.returned.send(std::mem::take(&mut self.current));
            self.position = 0;
            match self.blocks.recv() {
                Ok(Some(block)) => {
                    self.hash.update(&block);
                    self.current = block;
                }
                Ok(None) => self.ended = true,
                Err(_) => return Err(io::ErrorKind::BrokenPipe.into()),
            }
        }
        Ok(&self.current[self.position..])
    }

    fn consume(&mut self, length: usize) {
        self.position += length;
    }
}

impl Read for BlockReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.fill_buf()?.read(buffer)?;
        self.consume(length);
        Ok(length)
    }
}

/// Ends a running SHA-256.
pub(super) fn digest(hash: ring::digest::Context) -> Digest {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(hash.finish().as_ref());
    Digest::from_sha256(bytes)
}
