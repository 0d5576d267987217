//! Header blocks (SPDY/3.1 draft, section 2.6.10): names and values, compressed over the life of the connection with a
//! preset dictionary.

use std::{collections::HashMap, io, sync::LazyLock};

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::frame::invalid;

/// The most that a header block may unpack to.
const LONGEST_BLOCK: usize = 64 << 10;
/// The most headers in a block.
const MOST_HEADERS: usize = 64;

/// Words of the preset dictionary, each preceded by its length.
const WORDS: &str = "options head post put delete trace accept accept-charset accept-encoding accept-language \
accept-ranges age allow authorization cache-control connection content-base content-encoding content-language \
content-length content-location content-md5 content-range content-type date etag expect expires from host if-match \
if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma \
proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade \
user-agent vary via warning www-authenticate method get status";
/// Words with spaces or after one that has.
const MORE_WORDS: [&str; 7] = ["200 OK", "version", "HTTP/1.1", "url", "public", "set-cookie", "keep-alive"];
/// The end of the dictionary, plain text.
const TAIL: &str = "\
100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505\
203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized\
403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable\
Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT\
chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,\
publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

static DICTIONARY: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut dictionary = Vec::new();
    for word in WORDS.split(' ').chain(MORE_WORDS).chain(["origin"]) {
        dictionary.extend_from_slice(&(word.len() as u32).to_be_bytes());
        dictionary.extend_from_slice(word.as_bytes());
    }
    dictionary.extend_from_slice(TAIL.as_bytes());
    dictionary
});

/// Unpacks the client's header blocks.
#[derive(Debug)]
pub(super) struct Reader(Decompress);

impl Reader {
    pub(super) fn new() -> Self {
        Self(Decompress::new(true))
    }

    /// Headers of one block; names are lower-case on the wire.
    pub(super) fn read(&mut self, block: &[u8]) -> io::Result<HashMap<String, String>> {
        parse(&self.inflate(block)?)
    }

    fn inflate(&mut self, block: &[u8]) -> io::Result<Vec<u8>> {
        let start = self.0.total_in();
        let mut plain = Vec::with_capacity(1024);
        loop {
            let used = usize::try_from(self.0.total_in() - start).map_err(|_| invalid("a header block is too long"))?;
            let input = block.get(used..).unwrap_or_default();
            let before = plain.len();
            match self.0.decompress_vec(input, &mut plain, FlushDecompress::Sync) {
                Ok(Status::StreamEnd) => return Ok(plain),
                Ok(Status::Ok | Status::BufError) => {
                    let consumed = usize::try_from(self.0.total_in() - start).unwrap_or(usize::MAX) >= block.len();
                    if consumed && plain.len() < plain.capacity() {
                        return Ok(plain);
                    }
                    if plain.len() == before && plain.len() < plain.capacity() {
                        return Err(invalid("a header block is broken"));
                    }
                }
                Err(error) if error.needs_dictionary().is_some() => {
                    self.0.set_dictionary(&DICTIONARY).map_err(|_| invalid("a header block has another dictionary"))?;
                }
                Err(_) => return Err(invalid("a header block is broken")),
            }
            if plain.len() >= LONGEST_BLOCK {
                return Err(invalid("a header block is too long"));
            }
            plain.reserve(1024);
        }
    }
}

fn parse(mut block: &[u8]) -> io::Result<HashMap<String, String>> {
    let count = take_number(&mut block)?;
    if count > MOST_HEADERS {
        return Err(invalid("a header block has too many headers"));
    }
    let mut headers = HashMap::with_capacity(count);
    for _ in 0..count {
        let name = take_text(&mut block)?;
        let value = take_text(&mut block)?;
        headers.insert(name.to_ascii_lowercase(), value);
    }
    Ok(headers)
}

fn take_number(block: &mut &[u8]) -> io::Result<usize> {
    let (number, rest) = block.split_first_chunk::<4>().ok_or_else(|| invalid("a header block is too short"))?;
    *block = rest;
    Ok(u32::from_be_bytes(*number) as usize)
}

fn take_text(block: &mut &[u8]) -> io::Result<String> {
    let length = take_number(block)?;
    let (text, rest) = block.split_at_checked(length).ok_or_else(|| invalid("a header block is too short"))?;
    *block = rest;
    String::from_utf8(text.to_vec()).map_err(|_| invalid("a header is not UTF-8"))
}

/// Packs our header blocks.
#[derive(Debug)]
pub(super) struct Writer(Compress);

impl Writer {
    pub(super) fn new() -> io::Result<Self> {
        let mut compress = Compress::new(Compression::fast(), true);
        compress.set_dictionary(&DICTIONARY).map_err(|_| invalid("the dictionary was refused"))?;
        Ok(Self(compress))
    }

    /// A block without headers: all that an answer to a SYN_STREAM needs.
    pub(super) fn empty(&mut self) -> io::Result<Vec<u8>> {
        let mut packed = Vec::with_capacity(128);
        self.0
            .compress_vec(&0u32.to_be_bytes(), &mut packed, FlushCompress::Sync)
            .map_err(|_| invalid("a header block could not be packed"))?;
        Ok(packed)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a client would send.
    pub(in crate::streaming::spdy) fn pack(writer: &mut Writer, headers: &[(&str, &str)]) -> Vec<u8> {
        let mut plain = (headers.len() as u32).to_be_bytes().to_vec();
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            plain.extend_from_slice(&(text.len() as u32).to_be_bytes());
            plain.extend_from_slice(text.as_bytes());
        }
        let mut packed = Vec::with_capacity(plain.len() + 256);
        writer.0.compress_vec(&plain, &mut packed, FlushCompress::Sync).unwrap();
        packed
    }

    #[test]
    fn the_dictionary_is_the_protocol_s() {
        assert_eq!(DICTIONARY.len(), 1423);
        let mut adler = (1u32, 0u32);
        for byte in DICTIONARY.iter() {
            adler.0 = (adler.0 + u32::from(*byte)) % 65521;
            adler.1 = (adler.1 + adler.0) % 65521;
        }
        assert_eq!(adler.1 << 16 | adler.0, 0xe3c6_a7c2);
    }

    #[test]
    fn blocks_of_one_connection_are_unpacked_one_after_the_other() {
        let (mut writer, mut reader) = (Writer::new().unwrap(), Reader::new());
        for (id, kind) in [("0", "error"), ("1", "data")] {
            let block = pack(&mut writer, &[("streamtype", kind), ("requestid", id), ("port", "80")]);
            let headers = reader.read(&block).unwrap();
            assert_eq!((headers["streamtype"].as_str(), headers["requestid"].as_str()), (kind, id));
        }
        let empty = writer.empty().unwrap();
        assert!(reader.read(&empty).unwrap().is_empty());
    }

    #[test]
    fn a_block_that_unpacks_to_too_much_is_refused() {
        let (mut writer, mut reader) = (Writer::new().unwrap(), Reader::new());
        let long = "x".repeat(LONGEST_BLOCK + 1);
        assert!(reader.read(&pack(&mut writer, &[("a", &long)])).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(block in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = Reader::new().read(&block);
            let _ = parse(&block);
        }
    }
}
