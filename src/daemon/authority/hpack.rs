//! HPACK header blocks (RFC 7541): read with the peer's dynamic table, written without any.

use std::collections::VecDeque;

/// A header field's name and value.
pub(super) type Field = (Vec<u8>, Vec<u8>);

/// A header block that breaks the rules of HPACK or the limits of this decoder.
#[derive(Debug, thiserror::Error)]
#[error("malformed HPACK header block: {0}")]
pub(super) struct Malformed(&'static str);

/// Size of the dynamic table unless the decoding side announces another, RFC 9113 section 6.5.2.
const TABLE_SIZE: usize = 4096;
/// What an entry of the dynamic table costs beside its name and value, RFC 7541 section 4.1.
const ENTRY_OVERHEAD: usize = 32;
/// Bytes that the fields of one block may come to; a few bytes on the wire can stand for a whole table.
const MAX_FIELDS_SIZE: usize = 256 * 1024;

/// The decoding end of one connection's header compression.
#[derive(Debug)]
pub(super) struct Decoder {
    /// Newest entry first.
    table: VecDeque<Field>,
    size: usize,
    limit: usize,
}

impl Decoder {
    pub(super) fn new() -> Self {
        Self { table: VecDeque::new(), size: 0, limit: TABLE_SIZE }
    }

    /// Reads one complete header block and learns what it adds to the dynamic table.
    pub(super) fn decode(&mut self, block: &[u8]) -> Result<Vec<Field>, Malformed> {
        let mut input = Input(block);
        let mut fields = Vec::new();
        let mut total = 0;
        while let Some(first) = input.peek() {
            let field = match first {
                0x80.. => self.entry(input.integer(7)?)?,
                0x40..0x80 => {
                    let field = self.literal(&mut input, 6)?;
                    self.add(field.clone());
                    field
                }
                0x20..0x40 => {
                    self.resize(input.integer(5)?)?;
                    continue;
                }
                _ => self.literal(&mut input, 4)?,
            };
            total += size_of_field(&field);
            if total > MAX_FIELDS_SIZE {
                return Err(Malformed("too many fields"));
            }
            fields.push(field);
        }
        Ok(fields)
    }

    fn literal(&self, input: &mut Input<'_>, prefix: u8) -> Result<Field, Malformed> {
        let name = match input.integer(prefix)? {
            0 => input.string()?,
            index => self.entry(index)?.0,
        };
        Ok((name, input.string()?))
    }

    /// The entry at a one-based index: first the static table, then the dynamic one.
    fn entry(&self, index: usize) -> Result<Field, Malformed> {
        let position = index.checked_sub(1).ok_or(Malformed("index 0"))?;
        if let Some((name, value)) = STATIC_TABLE.get(position) {
            return Ok((name.as_bytes().to_vec(), value.as_bytes().to_vec()));
        }
        self.table.get(position - STATIC_TABLE.len()).cloned().ok_or(Malformed("index beyond the table"))
    }

    fn add(&mut self, field: Field) {
        self.size += size_of_field(&field);
        self.table.push_front(field);
        self.evict();
    }

    fn resize(&mut self, limit: usize) -> Result<(), Malformed> {
        if limit > TABLE_SIZE {
            return Err(Malformed("table size beyond the announced one"));
        }
        self.limit = limit;
        self.evict();
        Ok(())
    }

    fn evict(&mut self) {
        while self.size > self.limit {
            let Some(oldest) = self.table.pop_back() else { return };
            self.size -= size_of_field(&oldest);
        }
    }
}

fn size_of_field((name, value): &Field) -> usize {
    name.len() + value.len() + ENTRY_OVERHEAD
}

/// Writes fields as literals that leave the reader's dynamic table alone, RFC 7541 section 6.2.2.
pub(super) fn encode(fields: &[Field]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        encode_string(name, &mut block);
        encode_string(value, &mut block);
    }
    block
}

fn encode_string(text: &[u8], block: &mut Vec<u8>) {
    let low_bits = |value: usize| u8::try_from(value & 0x7f).unwrap_or_default();
    if text.len() < 0x7f {
        block.push(low_bits(text.len()));
    } else {
        block.push(0x7f);
        let mut rest = text.len() - 0x7f;
        while rest >= 0x80 {
            block.push(0x80 | low_bits(rest));
            rest >>= 7;
        }
        block.push(low_bits(rest));
    }
    block.extend_from_slice(text);
}

/// What is left of a header block.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        let (&first, rest) = self.0.split_first().ok_or(Malformed("it ends early"))?;
        self.0 = rest;
        Ok(first)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed("it ends early"))?;
        self.0 = rest;
        Ok(taken)
    }

    /// An integer that begins in the low `prefix` bits of the next byte, RFC 7541 section 5.1.
    fn integer(&mut self, prefix: u8) -> Result<usize, Malformed> {
        let mask = 0xff >> (8 - prefix);
        let first = self.byte()? & mask;
        if first < mask {
            return Ok(usize::from(first));
        }
        let mut value = usize::from(mask);
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            value += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed("an integer is too large"))
    }

    /// A string literal, RFC 7541 section 5.2.
    fn string(&mut self) -> Result<Vec<u8>, Malformed> {
        let huffman = self.peek().is_some_and(|first| first & 0x80 != 0);
        let length = self.integer(7)?;
        let bytes = self.take(length)?;
        if huffman { decode_huffman(bytes) } else { Ok(bytes.to_vec()) }
    }
}

/// Undoes the Huffman code. The code is canonical: sorted by length and then by symbol, codes count upwards, so
/// the lengths alone define it.
fn decode_huffman(bytes: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut text = Vec::with_capacity(bytes.len() * 8 / 5);
    let mut walk = Walk::default();
    let mut padding = true;
    for byte in bytes {
        for bit in (0..8).rev().map(|shift| byte >> shift & 1) {
            padding &= bit == 1;
            match walk.step(bit) {
                Some(symbol) => {
                    text.push(symbol);
                    (walk, padding) = (Walk::default(), true);
                }
                None if walk.length >= 30 => return Err(Malformed("no such Huffman code")),
                None => {}
            }
        }
    }
    if walk.length < 8 && padding { Ok(text) } else { Err(Malformed("bad Huffman padding")) }
}

/// The way through the code book, bit by bit.
#[derive(Default)]
struct Walk {
    code: u32,
    length: u8,
    /// First code of the present length.
    first: u32,
    /// How many symbols have shorter codes.
    shorter: usize,
}

impl Walk {
    fn step(&mut self, bit: u8) -> Option<u8> {
        let CodeBook { counts, symbols } = &CODE_BOOK;
        self.first = (self.first + u32::from(counts[usize::from(self.length)])) << 1;
        self.shorter += usize::from(counts[usize::from(self.length)]);
        self.code = self.code << 1 | u32::from(bit);
        self.length += 1;
        let offset = self.code.checked_sub(self.first)?;
        let known = offset < u32::from(counts[usize::from(self.length)]);
        known.then(|| symbols[self.shorter + offset as usize])
    }
}

/// The Huffman code by length.
struct CodeBook {
    /// Number of symbols of each length of code; none has length 0.
    counts: [u8; 31],
    /// Symbols, sorted by length of code and then by value.
    symbols: [u8; 256],
}

static CODE_BOOK: CodeBook = CodeBook::new();

impl CodeBook {
    const fn new() -> Self {
        let mut book = Self { counts: [0; 31], symbols: [0; 256] };
        let mut filled = 0;
        let mut length = 1;
        while length <= 30 {
            let mut symbol = 0;
            while symbol < 256 {
                if CODE_LENGTHS[symbol] == length {
                    book.counts[length as usize] += 1;
                    book.symbols[filled] = symbol as u8;
                    filled += 1;
                }
                symbol += 1;
            }
            length += 1;
        }
        book
    }
}

/// Bits in each symbol's code, RFC 7541 appendix B.
#[rustfmt::skip]
const CODE_LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28,
    28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6,
    6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23,
    23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21,
    23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19,
    22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27,
    27, 27, 27, 26,
];

/// RFC 7541 appendix A.
#[rustfmt::skip]
const STATIC_TABLE: [(&str, &str); 61] = [
    (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"), (":path", "/index.html"),
    (":scheme", "http"), (":scheme", "https"), (":status", "200"), (":status", "204"), (":status", "206"),
    (":status", "304"), (":status", "400"), (":status", "404"), (":status", "500"), ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"), ("accept-language", ""), ("accept-ranges", ""), ("accept", ""),
    ("access-control-allow-origin", ""), ("age", ""), ("allow", ""), ("authorization", ""), ("cache-control", ""),
    ("content-disposition", ""), ("content-encoding", ""), ("content-language", ""), ("content-length", ""),
    ("content-location", ""), ("content-range", ""), ("content-type", ""), ("cookie", ""), ("date", ""), ("etag", ""),
    ("expect", ""), ("expires", ""), ("from", ""), ("host", ""), ("if-match", ""), ("if-modified-since", ""),
    ("if-none-match", ""), ("if-range", ""), ("if-unmodified-since", ""), ("last-modified", ""), ("link", ""),
    ("location", ""), ("max-forwards", ""), ("proxy-authenticate", ""), ("proxy-authorization", ""), ("range", ""),
    ("referer", ""), ("refresh", ""), ("retry-after", ""), ("server", ""), ("set-cookie", ""),
    ("strict-transport-security", ""), ("transfer-encoding", ""), ("user-agent", ""), ("vary", ""), ("via", ""),
    ("www-authenticate", ""),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.chunks(2).map(byte).collect()
    }

    fn fields(pairs: &[(&str, &str)]) -> Vec<Field> {
        pairs.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
    }

    /// RFC 7541 appendices C.3 (plain strings) and C.4 (Huffman): three requests on one connection.
    #[test]
    fn the_examples_of_the_rfc_are_read() {
        let common = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")];
        let second = [&common[..], &[("cache-control", "no-cache")]].concat();
        let third = [
            (":method", "GET"),
            (":scheme", "https"),
            (":path", "/index.html"),
            (":authority", "www.example.com"),
            ("custom-key", "custom-value"),
        ];
        let plain = [
            "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
            "8286 84be 5808 6e6f 2d63 6163 6865",
            "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
        ];
        let huffman = [
            "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
            "8286 84be 5886 a8eb 1064 9cbf",
            "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
        ];
        for blocks in [plain, huffman] {
            let mut decoder = Decoder::new();
            for (block, expected) in blocks.iter().zip([&common[..], &second[..], &third[..]]) {
                assert_eq!(decoder.decode(&hex(block)).expect(block), fields(expected));
            }
            assert_eq!(decoder.size, 164);
        }
    }

    #[test]
    fn a_full_table_forgets_its_oldest_entries() {
        let mut decoder = Decoder::new();
        decoder.decode(&hex("3f 45")).expect("resizes to 100");
        for value in 0..10_u8 {
            decoder.decode(&[0x40, 1, b'n', 1, b'0' + value]).expect("adds");
        }
        assert_eq!(decoder.table.len(), 2, "34 bytes each fit twice into 100");
        assert_eq!(decoder.decode(&[0x80 | 62]).expect("newest"), fields(&[("n", "9")]));
        decoder.decode(&[0x80 | 64]).expect_err("evicted");
        decoder.decode(&[0x20]).expect("resizes to 0");
        assert_eq!((decoder.table.len(), decoder.size), (0, 0));
    }

    #[test]
    fn broken_blocks_are_refused() {
        for block in ["80", "be", "41", "41 05 61", "3f e1 3f", "41 81 00", "41 84 ff ff ff ff", "7f ff ff ff ff ff 0f"]
        {
            Decoder::new().decode(&hex(block)).expect_err(block);
        }
        let mut bomb = hex("40 01 78 7f a1 1e");
        bomb.extend([b'y'; 4000]);
        bomb.extend([0xbe; 1000]);
        Decoder::new().decode(&bomb).expect_err("a bomb of 4 MB");
    }

    #[test]
    fn what_is_written_is_read_back() {
        let long = "v".repeat(40_000);
        let written = fields(&[(":path", "/x"), ("empty", ""), ("long", &long), (":authority", &"a".repeat(127))]);
        let mut decoder = Decoder::new();
        assert_eq!(decoder.decode(&encode(&written)).expect("decodes"), written);
        assert_eq!(decoder.size, 0);
    }

    #[test]
    fn every_symbol_of_the_huffman_code_is_known() {
        // Codes of all symbols one after the other, made from the lengths by the rule that defines a canonical code.
        let (mut bits, mut expected, mut code) = (String::new(), Vec::new(), 0_u32);
        for length in 1..=30_u8 {
            code <<= 1;
            for symbol in (0..=255_u8).filter(|symbol| CODE_LENGTHS[usize::from(*symbol)] == length) {
                bits.push_str(&format!("{code:0width$b}", width = usize::from(length)));
                expected.push(symbol);
                code += 1;
            }
        }
        bits.push_str(&"1".repeat((8 - bits.len() % 8) % 8));
        let bytes: Vec<u8> = bits
            .as_bytes()
            .chunks(8)
            .map(|byte| u8::from_str_radix(std::str::from_utf8(byte).unwrap(), 2).unwrap())
            .collect();
        assert_eq!(decode_huffman(&bytes).expect("decodes"), expected);
    }
}
