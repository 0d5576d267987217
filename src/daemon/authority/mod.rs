//! Lets every gRPC client in, whatever it calls the server.
//!
//! Some clients of a unix socket send its path as `:authority` (older grpcurl, gRPC's C core, Java and Swift); the
//! HTTP/2 library refuses a request with an authority that is no host name. On a unix socket the name means nothing,
//! so [`Connection`] puts `localhost` in its place before the library sees it.
//!
//! Header compression has state: a header block may refer to fields of earlier blocks. So each block is decoded here
//! with a dynamic table of our own and written again as plain literals; the library's table stays empty. All other
//! frames pass as they are, and bodies are not copied.

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod hpack;

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::{
    bytes::{Buf, BytesMut},
    io::poll_read_buf,
};
use tonic::transport::server::Connected;

/// Bytes of a frame before its payload, RFC 9113 section 4.1.
const FRAME_HEADER: usize = 9;
/// The client's connection preface, RFC 9113 section 3.4; frames begin after it.
const PREFACE: usize = 24;
/// The largest payload that a peer sends when no other is announced, RFC 9113 section 6.5.2.
const MAX_PAYLOAD: usize = 16_384;
/// Room made for what follows the beginning of a header block.
const READ_AHEAD: usize = 4096;
/// The largest compressed header block taken.
const MAX_BLOCK: usize = 64 * 1024;

const HEADERS: u8 = 0x1;
const CONTINUATION: u8 = 0x9;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// A connection from a client, with acceptable `:authority` fields.
#[derive(Debug)]
pub(super) struct Connection<T> {
    inner: T,
    frames: Frames,
    /// Bytes from the peer that could not be passed on yet.
    held: BytesMut,
    /// Bytes for the server that were written here.
    ready: BytesMut,
}

impl<T> Connection<T> {
    /// Wraps a stream that has just been accepted.
    pub(super) fn new(inner: T) -> Self {
        Self { inner, frames: Frames::new(), held: BytesMut::new(), ready: BytesMut::new() }
    }

    /// Moves what can be passed on from `held` to `ready`.
    fn advance(&mut self) -> io::Result<()> {
        loop {
            let passes = self.frames.pass(&self.held);
            self.ready.extend_from_slice(&self.held[..passes]);
            self.held.advance(passes);
            if !self.frames.rewrite(&mut self.held, &mut self.ready)? {
                return Ok(());
            }
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Connection<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if !this.ready.is_empty() {
                let length = this.ready.len().min(buf.remaining());
                buf.put_slice(&this.ready.split_to(length));
                return Poll::Ready(Ok(()));
            }
            if this.held.is_empty() {
                let start = buf.filled().len();
                ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
                let read = &buf.filled()[start..];
                let passes = this.frames.pass(read);
                this.held.extend_from_slice(&read[passes..]);
                let end_of_stream = read.is_empty();
                buf.set_filled(start + passes);
                this.advance()?;
                if passes > 0 || end_of_stream {
                    return Poll::Ready(Ok(()));
                }
            } else {
                this.held.reserve(READ_AHEAD);
                if ready!(poll_read_buf(Pin::new(&mut this.inner), cx, &mut this.held))? == 0 {
                    return Poll::Ready(Ok(()));
                }
                this.advance()?;
            }
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Connection<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

impl<T: Connected> Connected for Connection<T> {
    type ConnectInfo = T::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.inner.connect_info()
    }
}

/// Where in the stream of frames the peer is.
#[derive(Debug)]
struct Frames {
    /// Bytes to come that pass as they are: the preface, or the rest of a frame.
    skip: usize,
    /// A header block of which more is to come.
    open: Option<Block>,
    decoder: hpack::Decoder,
}

/// A header block that is being put together.
#[derive(Debug)]
struct Block {
    stream: [u8; 4],
    end_stream: u8,
    content: Vec<u8>,
}

impl Frames {
    fn new() -> Self {
        Self { skip: PREFACE, open: None, decoder: hpack::Decoder::new() }
    }

    /// Says how many bytes at the start of `input` pass as they are. It stops before a header block and before an
    /// incomplete frame header.
    fn pass(&mut self, input: &[u8]) -> usize {
        let mut passed = 0;
        loop {
            let rest = &input[passed..];
            let skipped = self.skip.min(rest.len());
            self.skip -= skipped;
            passed += skipped;
            match FrameHeader::read(&rest[skipped..]) {
                Some(frame) if self.skip == 0 && self.open.is_none() && frame.kind != HEADERS => {
                    self.skip = FRAME_HEADER + frame.length;
                }
                _ => return passed,
            }
        }
    }

    /// Takes one complete frame of a header block from `held`; writes the block to `ready` when that was its last.
    /// Returns `false` when the frame is not complete yet.
    fn rewrite(&mut self, held: &mut BytesMut, ready: &mut BytesMut) -> io::Result<bool> {
        let Some(frame) = FrameHeader::read(held) else { return Ok(false) };
        if frame.length > MAX_PAYLOAD {
            return Err(malformed("a frame of a header block is too large"));
        }
        if held.len() < FRAME_HEADER + frame.length {
            return Ok(false);
        }
        let payload = held.split_to(FRAME_HEADER + frame.length).split_off(FRAME_HEADER);
        let mut block = match self.open.take() {
            None => Block::open(&frame, &payload)?,
            Some(block) => block.extend(&frame, &payload)?,
        };
        if frame.flags & END_HEADERS == 0 {
            self.open = Some(block);
        } else {
            block.content = self.replace_authority(&block.content)?;
            block.write(ready);
        }
        Ok(true)
    }

    fn replace_authority(&mut self, block: &[u8]) -> io::Result<Vec<u8>> {
        let mut fields =
            self.decoder.decode(block).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        for (name, value) in &mut fields {
            if name == b":authority" && http::uri::Authority::try_from(value.as_slice()).is_err() {
                *value = b"localhost".to_vec();
            }
        }
        Ok(hpack::encode(&fields))
    }
}

impl Block {
    /// Begins with a HEADERS frame, RFC 9113 section 6.2; its padding and priority are dropped.
    fn open(frame: &FrameHeader, payload: &[u8]) -> io::Result<Self> {
        let cut = || malformed("a HEADERS frame is too short");
        let mut content = payload;
        if frame.flags & PADDED != 0 {
            let (&padding, rest) = content.split_first().ok_or_else(cut)?;
            content = rest.get(..rest.len().wrapping_sub(usize::from(padding))).ok_or_else(cut)?;
        }
        if frame.flags & PRIORITY != 0 {
            content = content.get(5..).ok_or_else(cut)?;
        }
        Ok(Self { stream: frame.stream, end_stream: frame.flags & END_STREAM, content: content.to_vec() })
    }

    /// Goes on with a CONTINUATION frame, RFC 9113 section 6.10.
    fn extend(mut self, frame: &FrameHeader, payload: &[u8]) -> io::Result<Self> {
        if frame.kind != CONTINUATION || frame.stream != self.stream {
            return Err(malformed("a header block is interrupted"));
        }
        self.content.extend_from_slice(payload);
        if self.content.len() > MAX_BLOCK { Err(malformed("a header block is too large")) } else { Ok(self) }
    }

    /// Writes the block as one HEADERS frame and as many CONTINUATION frames as it takes.
    fn write(&self, ready: &mut BytesMut) {
        let mut kind = HEADERS;
        let mut flags = self.end_stream;
        let mut content = self.content.as_slice();
        loop {
            let (payload, rest) = content.split_at(content.len().min(MAX_PAYLOAD));
            if rest.is_empty() {
                flags |= END_HEADERS;
            }
            let [_, length @ ..] = u32::try_from(payload.len()).unwrap_or_default().to_be_bytes();
            ready.extend_from_slice(&length);
            ready.extend_from_slice(&[kind, flags]);
            ready.extend_from_slice(&self.stream);
            ready.extend_from_slice(payload);
            if rest.is_empty() {
                return;
            }
            (kind, flags, content) = (CONTINUATION, 0, rest);
        }
    }
}

/// The first nine bytes of a frame.
struct FrameHeader {
    length: usize,
    kind: u8,
    flags: u8,
    stream: [u8; 4],
}

impl FrameHeader {
    /// Reads the header at the start of `input`; `None` when it is not all there.
    fn read(input: &[u8]) -> Option<Self> {
        let &[l1, l2, l3, kind, flags, s1, s2, s3, s4] = input.first_chunk::<FRAME_HEADER>()?;
        let length = u32::from_be_bytes([0, l1, l2, l3]) as usize;
        Some(Self { length, kind, flags, stream: [s1, s2, s3, s4] })
    }
}

fn malformed(problem: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

#[cfg(test)]
mod tests;
