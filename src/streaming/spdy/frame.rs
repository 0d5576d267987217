//! Frames on the wire (SPDY/3.1 draft, section 2.2): eight bytes of head, then a body.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// The longest body that is read: clients send data in far smaller pieces, and headers are short.
const LONGEST_BODY: usize = 1 << 20;
const VERSION: u16 = 3;
const FLAG_FIN: u8 = 1;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;

/// RST_STREAM's status for "the request was not understood".
pub(super) const PROTOCOL_ERROR: u32 = 1;
/// RST_STREAM's status for "refused before anything was done".
pub(super) const REFUSED_STREAM: u32 = 3;
/// RST_STREAM's status for "the stream is not wanted any more".
pub(super) const CANCEL: u32 = 5;

/// A frame from the client. Kinds that mean nothing here (SETTINGS, WINDOW_UPDATE, …) are [`Frame::Other`].
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    SynStream { stream: u32, fin: bool, headers: Bytes },
    Data { stream: u32, fin: bool, data: Bytes },
    RstStream { stream: u32 },
    Ping { id: u32 },
    GoAway,
    Other,
}

/// Reads one frame; `None` at the end of the connection.
pub(super) async fn read(source: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Frame>> {
    let mut head = [0; 8];
    match source.read_exact(&mut head).await {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let length = usize::from(head[5]) << 16 | usize::from(head[6]) << 8 | usize::from(head[7]);
    if length > LONGEST_BODY {
        return Err(invalid("a frame is too long"));
    }
    let mut body = BytesMut::zeroed(length);
    source.read_exact(&mut body).await?;
    parse(head, body.freeze()).map(Some)
}

/// Makes sense of a whole frame.
pub(super) fn parse(head: [u8; 8], body: Bytes) -> io::Result<Frame> {
    let word = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
    let fin = head[4] & FLAG_FIN != 0;
    if word >> 31 == 0 {
        return Ok(Frame::Data { stream: word, fin, data: body });
    }
    if (word >> 16) as u16 & 0x7fff != VERSION {
        return Err(invalid("a frame has another version than 3"));
    }
    let number = |at: usize| -> io::Result<u32> {
        let bytes = body.get(at..at + 4).ok_or_else(|| invalid("a frame is too short"))?;
        Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    };
    Ok(match (word & 0xffff) as u16 {
        SYN_STREAM => {
            let stream = number(0)? & 0x7fff_ffff;
            // Behind the id: the associated stream (4 bytes), priority and slot (2 bytes).
            if body.len() < 10 {
                return Err(invalid("a frame is too short"));
            }
            Frame::SynStream { stream, fin, headers: body.slice(10..) }
        }
        RST_STREAM => Frame::RstStream { stream: number(0)? & 0x7fff_ffff },
        PING => Frame::Ping { id: number(0)? },
        GOAWAY => Frame::GoAway,
        _ => Frame::Other,
    })
}

/// Appends a data frame's head; the data follow.
pub(super) fn put_data_head(out: &mut BytesMut, stream: u32, fin: bool, length: usize) {
    out.put_u32(stream);
    put_flags_and_length(out, if fin { FLAG_FIN } else { 0 }, length);
}

/// Appends the answer to a SYN_STREAM, with a compressed header block.
pub(super) fn put_syn_reply(out: &mut BytesMut, stream: u32, headers: &[u8]) {
    put_control_head(out, SYN_REPLY, 4 + headers.len());
    out.put_u32(stream);
    out.put_slice(headers);
}

/// Appends a RST_STREAM.
pub(super) fn put_rst_stream(out: &mut BytesMut, stream: u32, status: u32) {
    put_control_head(out, RST_STREAM, 8);
    out.put_u32(stream);
    out.put_u32(status);
}

/// Appends a PING.
pub(super) fn put_ping(out: &mut BytesMut, id: u32) {
    put_control_head(out, PING, 4);
    out.put_u32(id);
}

/// Appends a GOAWAY without an error.
pub(super) fn put_goaway(out: &mut BytesMut, last_stream: u32) {
    put_control_head(out, GOAWAY, 8);
    out.put_u32(last_stream);
    out.put_u32(0);
}

fn put_control_head(out: &mut BytesMut, kind: u16, length: usize) {
    out.put_u16(0x8000 | VERSION);
    out.put_u16(kind);
    put_flags_and_length(out, 0, length);
}

fn put_flags_and_length(out: &mut BytesMut, flags: u8, length: usize) {
    // Lengths are ours: headers and chunks far below 24 bits.
    out.put_u32(u32::from(flags) << 24 | (length as u32 & 0x00ff_ffff));
}

pub(super) fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    async fn round_trip(bytes: BytesMut) -> Frame {
        read(&mut &bytes[..]).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn frames_written_are_the_frames_read() {
        let mut out = BytesMut::new();
        put_data_head(&mut out, 5, true, 2);
        out.put_slice(b"hi");
        assert_eq!(round_trip(out).await, Frame::Data { stream: 5, fin: true, data: Bytes::from_static(b"hi") });
        let mut out = BytesMut::new();
        put_ping(&mut out, 9);
        assert_eq!(round_trip(out).await, Frame::Ping { id: 9 });
        let mut out = BytesMut::new();
        put_rst_stream(&mut out, 7, CANCEL);
        assert_eq!(round_trip(out).await, Frame::RstStream { stream: 7 });
    }

    #[tokio::test]
    async fn a_length_beyond_all_measure_is_refused_before_it_is_read() {
        let head = [0, 0, 0, 1, 0, 0xff, 0xff, 0xff];
        assert!(read(&mut &head[..]).await.is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(head: [u8; 8], body in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse(head, body.into());
        }
    }
}
