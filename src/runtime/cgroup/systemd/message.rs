//! D-Bus messages as far as systemd's manager needs them, D-Bus specification, "Message Format".

use std::io;

/// Longest message that is taken; systemd's replies have a few hundred bytes.
pub(super) const LONGEST: usize = 64 * 1024;
/// Bytes before the header fields.
pub(super) const FIXED: usize = 16;

const LITTLE_ENDIAN: u8 = b'l';
const PROTOCOL: u8 = 1;

/// Kind of a message.
pub(super) mod kind {
    pub(in crate::runtime::cgroup::systemd) const CALL: u8 = 1;
    pub(in crate::runtime::cgroup::systemd) const RETURN: u8 = 2;
    pub(in crate::runtime::cgroup::systemd) const ERROR: u8 = 3;
    pub(in crate::runtime::cgroup::systemd) const SIGNAL: u8 = 4;
}

/// Codes of header fields.
mod field {
    pub(super) const PATH: u8 = 1;
    pub(super) const INTERFACE: u8 = 2;
    pub(super) const MEMBER: u8 = 3;
    pub(super) const ERROR_NAME: u8 = 4;
    pub(super) const REPLY_SERIAL: u8 = 5;
    pub(super) const DESTINATION: u8 = 6;
    pub(super) const SIGNATURE: u8 = 8;
}

/// A property's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Flag(bool),
    Text(String),
    Number(u64),
    Numbers(Vec<u32>),
    /// Pairs of a device and what may be done with it.
    Pairs(Vec<(String, String)>),
}

impl Value {
    const fn signature(&self) -> &'static str {
        match self {
            Self::Flag(_) => "b",
            Self::Text(_) => "s",
            Self::Number(_) => "t",
            Self::Numbers(_) => "au",
            Self::Pairs(_) => "a(ss)",
        }
    }
}

/// Marshalled values, each aligned to its size from the start.
#[derive(Debug, Default)]
pub(super) struct Body(Vec<u8>);

impl Body {
    pub(super) fn text(mut self, text: &str) -> Self {
        self.put_text(text);
        self
    }

    pub(super) fn flag(mut self, flag: bool) -> Self {
        self.put_u32(flag.into());
        self
    }

    /// `a(sv)`.
    pub(super) fn properties(mut self, properties: &[(&str, Value)]) -> Self {
        self.put_array(8, properties, |body, (name, value)| {
            body.align(8);
            body.put_text(name);
            body.put_value(value);
        });
        self
    }

    /// An empty `a(sa(sv))`.
    pub(super) fn no_units(mut self) -> Self {
        self.put_array::<()>(8, &[], |_, ()| {});
        self
    }

    fn put_value(&mut self, value: &Value) {
        self.put_signature(value.signature());
        match value {
            Value::Flag(flag) => self.put_u32((*flag).into()),
            Value::Text(text) => self.put_text(text),
            Value::Number(number) => {
                self.align(8);
                self.0.extend_from_slice(&number.to_le_bytes());
            }
            Value::Numbers(numbers) => self.put_array(4, numbers, |body, number| body.put_u32(*number)),
            Value::Pairs(pairs) => self.put_array(8, pairs, |body, (one, two)| {
                body.align(8);
                body.put_text(one);
                body.put_text(two);
            }),
        }
    }

    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    fn put_u32(&mut self, number: u32) {
        self.align(4);
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn put_text(&mut self, text: &str) {
        self.put_u32(length(text.len()));
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(0);
    }

    fn put_signature(&mut self, signature: &str) {
        // Signatures here are constants of a few letters.
        self.0.push(u8::try_from(signature.len()).unwrap_or_default());
        self.0.extend_from_slice(signature.as_bytes());
        self.0.push(0);
    }

    /// The length in bytes does not count the padding before the first element.
    fn put_array<T>(&mut self, alignment: usize, items: &[T], put: impl Fn(&mut Self, &T)) {
        self.put_u32(0);
        let at = self.0.len() - 4;
        self.align(alignment);
        let start = self.0.len();
        for item in items {
            put(self, item);
        }
        let size = length(self.0.len() - start);
        self.0[at..at + 4].copy_from_slice(&size.to_le_bytes());
    }
}

/// A method call's address.
#[derive(Debug, Clone, Copy)]
pub(super) struct Method<'a> {
    pub(super) destination: &'a str,
    pub(super) path: &'a str,
    pub(super) interface: &'a str,
    pub(super) name: &'a str,
    /// Of the body.
    pub(super) signature: &'a str,
}

/// Marshals a method call.
pub(super) fn call(serial: u32, method: Method<'_>, body: &Body) -> Vec<u8> {
    let mut message = Body(vec![LITTLE_ENDIAN, kind::CALL, 0, PROTOCOL]);
    message.put_u32(length(body.0.len()));
    message.put_u32(serial);
    let fields = [
        (field::PATH, "o", method.path),
        (field::DESTINATION, "s", method.destination),
        (field::INTERFACE, "s", method.interface),
        (field::MEMBER, "s", method.name),
        (field::SIGNATURE, "g", method.signature),
    ];
    message.put_array(8, &fields, |message, (code, signature, value)| {
        message.align(8);
        message.0.push(*code);
        message.put_signature(signature);
        match *signature {
            "g" => message.put_signature(value),
            _ => message.put_text(value),
        }
    });
    message.align(8);
    message.0.extend_from_slice(&body.0);
    message.0
}

/// A received message.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Received {
    pub(super) kind: u8,
    pub(super) reply_to: u32,
    pub(super) member: String,
    pub(super) error: String,
    body: Vec<u8>,
}

/// Lengths after the first 16 bytes: of the header's rest with its padding, and of the body.
pub(super) fn lengths(fixed: &[u8; FIXED]) -> io::Result<(usize, usize)> {
    if fixed[0] != LITTLE_ENDIAN || fixed[3] != PROTOCOL {
        return Err(malformed("byte order or version"));
    }
    let mut reader = Reader { bytes: fixed, at: 4 };
    let (body, _serial, fields) = (reader.size()?, reader.u32()?, reader.size()?);
    let header = (FIXED + fields).next_multiple_of(8) - FIXED;
    if header + body > LONGEST {
        return Err(malformed("length"));
    }
    Ok((header, body))
}

impl Received {
    /// Parses a whole message, of which [`lengths`] has told the length.
    pub(super) fn parse(bytes: &[u8]) -> io::Result<Self> {
        let fixed: &[u8; FIXED] = bytes.first_chunk().ok_or_else(|| malformed("length"))?;
        let (header, _) = lengths(fixed)?;
        let mut reader = Reader { bytes, at: 12 };
        let end = reader.size()? + FIXED;
        let mut message = Self { kind: bytes[1], ..Self::default() };
        while reader.at < end {
            reader.align(8);
            let code = reader.byte()?;
            match (code, reader.signature()?) {
                (field::REPLY_SERIAL, "u") => message.reply_to = reader.u32()?,
                (field::MEMBER, "s") => message.member = reader.text()?.to_owned(),
                (field::ERROR_NAME, "s") => message.error = reader.text()?.to_owned(),
                (_, "s" | "o") => drop(reader.text()?),
                (_, "g") => drop(reader.signature()?),
                (_, "u") => drop(reader.u32()?),
                _ => return Err(malformed("header field")),
            }
        }
        message.body = bytes.get(FIXED + header..).unwrap_or_default().to_vec();
        Ok(message)
    }

    /// Reads the body.
    pub(super) fn body(&self) -> Reader<'_> {
        Reader { bytes: &self.body, at: 0 }
    }
}

/// Unmarshals values.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, count: usize) -> io::Result<&'a [u8]> {
        let end = self.at.checked_add(count).ok_or_else(|| malformed("length"))?;
        let taken = self.bytes.get(self.at..end).ok_or_else(|| malformed("length"))?;
        self.at = end;
        Ok(taken)
    }

    fn byte(&mut self) -> io::Result<u8> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn u32(&mut self) -> io::Result<u32> {
        self.align(4);
        let bytes = self.take(4)?.try_into().map_err(|_| malformed("number"))?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn size(&mut self) -> io::Result<usize> {
        let size = usize::try_from(self.u32()?).map_err(|_| malformed("length"))?;
        if size > LONGEST { Err(malformed("length")) } else { Ok(size) }
    }

    pub(super) fn text(&mut self) -> io::Result<&'a str> {
        let size = self.size()?;
        self.terminated(size)
    }

    fn signature(&mut self) -> io::Result<&'a str> {
        let size = self.byte()?.into();
        self.terminated(size)
    }

    fn terminated(&mut self, size: usize) -> io::Result<&'a str> {
        let text = self.take(size)?;
        self.take(1)?;
        std::str::from_utf8(text).map_err(|_| malformed("text"))
    }
}

/// What is marshalled here is far shorter than 4 GiB.
fn length(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("malformed D-Bus message: {what}"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    impl Body {
        pub(in crate::runtime::cgroup::systemd) fn number(mut self, number: u32) -> Self {
            self.put_u32(number);
            self
        }
    }

    /// Any message, with header fields of text and, for replies, the serial of the call.
    pub(in crate::runtime::cgroup::systemd) fn message(
        kind: u8,
        fields: &[(u8, &str, &str)],
        reply_to: Option<u32>,
        body: &Body,
    ) -> Vec<u8> {
        let mut message = Body(vec![LITTLE_ENDIAN, kind, 0, PROTOCOL]);
        message.put_u32(length(body.0.len()));
        message.put_u32(1);
        let mut all: Vec<_> = fields.iter().map(|field| (Some(field), None)).collect();
        all.extend(reply_to.map(|serial| (None, Some(serial))));
        message.put_array(8, &all, |message, (text, serial)| {
            message.align(8);
            if let Some((code, signature, value)) = text {
                message.0.push(*code);
                message.put_signature(signature);
                message.put_text(value);
            }
            if let Some(serial) = serial {
                message.0.push(field::REPLY_SERIAL);
                message.put_signature("u");
                message.put_u32(*serial);
            }
        });
        message.align(8);
        message.0.extend_from_slice(&body.0);
        message.0
    }

    #[test]
    fn values_are_aligned_and_counted_without_padding() {
        let body = Body::default().text("ab").properties(&[("N", Value::Number(7))]);
        #[rustfmt::skip]
        let expected = [
            2, 0, 0, 0, b'a', b'b', 0, 0, // text, padded for the array's length
            24, 0, 0, 0, 0, 0, 0, 0, // 24 bytes from the next multiple of eight
            1, 0, 0, 0, b'N', 0, 1, b't', 0, 0, 0, 0, 0, 0, 0, 0, // name, signature, padding
            7, 0, 0, 0, 0, 0, 0, 0,
        ];
        assert_eq!(body.0, expected);
    }

    #[test]
    fn a_call_reads_back() {
        let body = Body::default().text("unit").flag(true);
        let method = Method { destination: "a.b", path: "/x", interface: "a.b.C", name: "Do", signature: "sb" };
        let bytes = call(9, method, &body);
        let (header, length) = lengths(bytes.first_chunk().expect("header")).expect("lengths");
        assert_eq!(FIXED + header + length, bytes.len());
        let message = Received::parse(&bytes).expect("parses");
        assert_eq!((message.kind, message.member.as_str()), (kind::CALL, "Do"));
        let mut reader = message.body();
        assert_eq!((reader.text().expect("text"), reader.u32().expect("flag")), ("unit", 1));
        assert!(reader.text().is_err(), "nothing more is there");
    }

    #[test]
    fn broken_messages_are_refused() {
        assert!(Received::parse(b"l").is_err());
        let mut endian = [0; FIXED];
        endian[0] = b'B';
        assert!(lengths(&endian).is_err());
        let huge = [b'l', 2, 0, 1, 255, 255, 255, 255, 1, 0, 0, 0, 0, 0, 0, 0];
        assert!(lengths(&huge).is_err());
        let cut = [b'l', 2, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0, 5, 1, b'u', 0];
        assert!(Received::parse(&cut).is_err());
    }

    proptest::proptest! {
        #[test]
        fn nothing_that_is_received_panics(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = Received::parse(&bytes);
            let mut bytes = bytes;
            bytes.splice(0..bytes.len().min(4), [b'l', 2, 0, 1]);
            let _ = Received::parse(&bytes).map(|message| message.body().text().map(str::len));
        }
    }
}
