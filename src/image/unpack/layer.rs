//! A layer's pipeline: verify and decompress on one thread, read the archive and make files on another.

use std::{
    io::{self, BufRead, BufReader, Read},
    os::fd::OwnedFd,
    thread,
};

use super::{
    Compression, Error, Limits, Tally,
    apply::apply,
    compression::MAGIC_LENGTH,
    pipe::{self, BlockReader, BlockWriter, ReaderGone},
};
use crate::{image::tar, types::Digest};

/// What a layer's stream must be, by the manifest.
#[derive(Debug, Clone, Copy)]
pub(in crate::image) struct Expected {
    /// Digest of the stream as it comes, compressed or not.
    pub(in crate::image) digest: Digest,
    /// Its length in bytes.
    pub(in crate::image) size: u64,
}

/// A layer that has been unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::image) struct Unpacked {
    /// Digest of the uncompressed archive.
    pub(in crate::image) diff_id: Digest,
    /// Digest of the stream as it came.
    pub(in crate::image) digest: Digest,
    /// Length of the stream as it came.
    pub(in crate::image) size: u64,
    /// What it takes.
    pub(in crate::image) tally: Tally,
}

/// Unpacks a layer's stream into the empty directory `root`. Blocking.
///
/// Everything is verified on the way, so nothing in `root` may be used before this returns without an error.
/// `media_type` may be empty.
pub(in crate::image) fn unpack(
    source: impl Read + Send,
    media_type: &str,
    expected: Option<Expected>,
    root: OwnedFd,
    limits: Limits,
) -> Result<Unpacked, Error> {
    let (writer, mut reader) = pipe::pipe();
    thread::scope(|scope| {
        let inflate = thread::Builder::new()
            .name("inflate".to_owned())
            .spawn_scoped(scope, move || inflate(source, media_type, expected, writer))
            .map_err(Error::Thread)?;
        let applied = apply(&mut tar::Reader::new(&mut reader), root, limits);
        if matches!(applied, Err(Error::Archive(_))) {
            // A broken archive may be a broken transfer: whether it is, the other thread finds out at its end.
            pass_over(&mut reader, limits);
        }
        let diff_id = reader.digest();
        let inflated = inflate.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        match (applied, inflated) {
            (Ok(tally), Ok(Some(Expected { digest, size }))) => Ok(Unpacked { diff_id, digest, size, tally }),
            (_, Err(error)) | (Err(error), _) => Err(error),
            // The other thread stops early only when this one has failed.
            (Ok(_), Ok(None)) => Err(Error::Decompress(io::ErrorKind::BrokenPipe.into())),
        }
    })
}

fn pass_over(reader: &mut BlockReader, limits: Limits) {
    // Its errors are the other thread's.
    let _ = io::copy(&mut reader.take(limits.bytes), &mut io::sink());
}

/// Decompresses `source` into the pipe and checks what came from it. `None` when nobody wants more.
fn inflate(
    source: impl Read + Send,
    media_type: &str,
    expected: Option<Expected>,
    writer: BlockWriter,
) -> Result<Option<Expected>, Error> {
    let mut source = BufReader::with_capacity(64 << 10, Metered::new(source, expected));
    let decompressed = decompress(&mut source, media_type, &writer);
    if matches!(decompressed, Ok(Err(ReaderGone))) {
        return Ok(None);
    }
    // Also after a failure: if the stream is not the right one, that is the failure to tell.
    let received = source.into_inner().verify(expected)?;
    if decompressed?.is_ok() {
        writer.finish();
    }
    Ok(Some(received))
}

fn decompress(
    source: &mut (impl BufRead + Send),
    media_type: &str,
    writer: &BlockWriter,
) -> Result<Result<(), ReaderGone>, Error> {
    let mut start = Vec::with_capacity(MAGIC_LENGTH);
    source.by_ref().take(MAGIC_LENGTH as u64).read_to_end(&mut start).map_err(Error::Decompress)?;
    let compression = Compression::of(&start, media_type)?;
    let mut decoder = compression.decoder(io::Cursor::new(start).chain(source)).map_err(Error::Decompress)?;
    loop {
        let mut block = writer.block();
        pipe::fill(&mut block, &mut decoder).map_err(Error::Decompress)?;
        if block.is_empty() {
            return Ok(Ok(()));
        }
        if let Err(gone) = writer.send(block) {
            return Ok(Err(gone));
        }
    }
}

/// Counts and digests what is read, and ends early when more comes than may.
pub(super) struct Metered<R> {
    source: R,
    hash: ring::digest::Context,
    size: u64,
    limit: u64,
}

impl<R: Read> Metered<R> {
    /// Reads from `source`, but not much more than there should be.
    pub(super) fn new(source: R, expected: Option<Expected>) -> Self {
        let limit = expected.map_or(u64::MAX, |expected| expected.size);
        Self { source, hash: ring::digest::Context::new(&ring::digest::SHA256), size: 0, limit }
    }

    /// Reads what is left and tells what the whole stream was, if it is what it should be.
    pub(super) fn verify(mut self, expected: Option<Expected>) -> Result<Expected, Error> {
        io::copy(&mut self, &mut io::sink()).map_err(Error::Decompress)?;
        let received = Expected { digest: pipe::digest(self.hash), size: self.size };
        if let Some(Expected { digest, size }) = expected {
            if received.size != size {
                return Err(Error::Size { expected: size, actual: received.size });
            }
            if received.digest != digest {
                return Err(Error::Digest { expected: digest, actual: received.digest });
            }
        }
        Ok(received)
    }
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.size > self.limit {
            return Ok(0);
        }
        let length = self.source.read(buffer)?;
        self.hash.update(&buffer[..length]);
        self.size += length as u64;
        Ok(length)
    }
}
