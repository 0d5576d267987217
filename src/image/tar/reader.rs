//! The reader: entries in order, each with its data as a stream.

use std::io::{self, BufRead, Read};

use super::{
    BLOCK, Error, Header, Kind, Segment, Time,
    block::{self, Block},
    pax::{Map, Records},
    sparse,
};

/// Upper bound of an extended header or a long name; they are held in memory.
const MAX_EXTENDED: u64 = 1 << 20;

/// Reads an archive entry by entry. While an entry is current, the reader itself reads the entry's stored data.
#[derive(Debug)]
pub(in crate::image) struct Reader<R> {
    source: R,
    position: u64,
    /// Stored bytes of the current entry that are still to be read.
    stored: u64,
    /// Bytes that fill the entry's last block up.
    padding: u64,
    ended: bool,
}

/// What extended headers and long names say about the entry that follows them.
#[derive(Default)]
struct Pending {
    records: Option<Records>,
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl<R: BufRead> Reader<R> {
    /// Starts at the first entry's header.
    pub(in crate::image) fn new(source: R) -> Self {
        Self { source, position: 0, stored: 0, padding: 0, ended: false }
    }

    /// Goes on to the next entry, passing over what is left of the current one. `None` at the end of the archive,
    /// which is two zero blocks or the end of the source between entries.
    pub(in crate::image) fn next_entry(&mut self) -> Result<Option<Header>, Error> {
        let mut pending = Pending::default();
        loop {
            self.skip_data()?;
            let start = self.position;
            let Some(block) = self.header_block()? else { return Ok(None) };
            let flag = block[block::TYPE];
            match flag {
                b'x' | b'g' | b'L' | b'K' => {
                    let bytes = self.extended(&block, start)?;
                    match flag {
                        b'x' => pending.records = Some(Records::parse(&bytes).map_err(malformed(start))?),
                        b'L' => pending.path = Some(block::until_nul(&bytes).to_vec()),
                        b'K' => pending.link = Some(block::until_nul(&bytes).to_vec()),
                        // Global headers are read by no other engine; git puts a comment there.
                        _ => {}
                    }
                }
                _ => return self.entry(&block, start, pending).map(Some),
            }
        }
    }

    /// Reads the rest of the source after the end of the archive, as writers fill it up with zeros.
    pub(in crate::image) fn drain(&mut self) -> Result<(), Error> {
        self.skip_data()?;
        loop {
            let length = self.fill()?.len();
            if length == 0 {
                return Ok(());
            }
            self.advance(length);
        }
    }

    /// The next header block with a right checksum; `None` at the end of the archive.
    fn header_block(&mut self) -> Result<Option<Block>, Error> {
        if self.ended || self.fill()?.is_empty() {
            self.ended = true;
            return Ok(None);
        }
        let start = self.position;
        let block = self.read_block()?;
        if block::is_zero(&block) {
            self.ended = true;
            if !self.fill()?.is_empty() && !block::is_zero(&self.read_block()?) {
                return Err(malformed(start)("lone zero block"));
            }
            return Ok(None);
        }
        let (unsigned, signed) = block::checksums(&block);
        match block::CHECKSUM.number(&block) {
            Some(sum) if sum == unsigned || sum == signed => Ok(Some(block)),
            _ => Err(malformed(start)("checksum")),
        }
    }

    /// Data of an extended header or a long name.
    fn extended(&mut self, block: &Block, start: u64) -> Result<Vec<u8>, Error> {
        let size = block::SIZE.number(block).and_then(|size| u64::try_from(size).ok());
        let size = size.ok_or_else(|| malformed(start)("size"))?;
        if size > MAX_EXTENDED {
            return Err(Error::TooLarge { position: start, what: "extended header", size });
        }
        self.set_data(size, start)?;
        let mut bytes = Vec::new();
        while self.stored > 0 {
            let part = self.fill_entry()?;
            bytes.extend_from_slice(part);
            let length = part.len();
            self.consume_entry(length);
        }
        Ok(bytes)
    }

    /// Puts an entry together from its block and what came before it.
    fn entry(&mut self, block: &Block, start: u64, pending: Pending) -> Result<Header, Error> {
        let records = pending.records.unwrap_or_default();
        let mut header = from_block(block).map_err(malformed(start))?;
        records.apply(&mut header).map_err(malformed(start))?;
        header.path = pending.path.unwrap_or(header.path);
        header.link = pending.link.unwrap_or(header.link);
        if let Some(size) = records.stored_size().map_err(malformed(start))? {
            header.size = size;
        }
        if matches!(header.kind, Kind::File) && header.path.ends_with(b"/") {
            // How archives from before POSIX mark a directory.
            header.kind = Kind::Directory;
        }
        if !matches!(header.kind, Kind::File | Kind::Other(_)) {
            header.size = 0;
        }
        self.set_data(header.size, start)?;
        if header.kind == Kind::File {
            self.read_sparse(block, &records, &mut header, start)?;
        }
        Ok(header)
    }

    /// Finds out whether the entry is a sparse file, in whichever form, and where its data belongs.
    fn read_sparse(&mut self, block: &Block, records: &Records, header: &mut Header, start: u64) -> Result<(), Error> {
        let (segments, size) = if block[block::TYPE] == b'S' {
            let size = sparse::OLD_SIZE.number(block).and_then(|size| u64::try_from(size).ok());
            (self.old_sparse_map(block, start)?, size.ok_or_else(|| malformed(start)("sparse file size"))?)
        } else if let Some(found) = records.sparse().map_err(malformed(start))? {
            header.path = found.name.unwrap_or_else(|| std::mem::take(&mut header.path));
            let segments = match found.map {
                Map::Segments(segments) => segments,
                Map::InData => self.sparse_map_in_data(start)?,
            };
            (segments, found.size)
        } else {
            return Ok(());
        };
        header.sparse = Some(sparse::validate(segments, size, self.stored).map_err(malformed(start))?);
        header.size = size;
        Ok(())
    }

    /// The map of an old GNU sparse file; its extension blocks stand before the data and do not count as data.
    fn old_sparse_map(&mut self, block: &Block, start: u64) -> Result<Vec<Segment>, Error> {
        let mut segments = Vec::new();
        let mut extended = sparse::old_header(block, &mut segments).map_err(malformed(start))?;
        while extended {
            let block = self.read_block()?;
            extended = sparse::old_extension(&block, &mut segments).map_err(malformed(start))?;
        }
        Ok(segments)
    }

    /// The map at the start of a sparse file's data.
    fn sparse_map_in_data(&mut self, start: u64) -> Result<Vec<Segment>, Error> {
        enum Failure {
            Map(&'static str),
            Read(Error),
        }
        impl From<&'static str> for Failure {
            fn from(what: &'static str) -> Self {
                Self::Map(what)
            }
        }
        let segments = sparse::in_data(|| {
            self.stored = self.stored.checked_sub(BLOCK as u64).ok_or(Failure::Map("sparse file map"))?;
            self.read_block().map_err(Failure::Read)
        });
        segments.map_err(|failure| match failure {
            Failure::Map(what) => malformed(start)(what),
            Failure::Read(error) => error,
        })
    }

    fn set_data(&mut self, size: u64, start: u64) -> Result<(), Error> {
        if size > i64::MAX as u64 {
            return Err(malformed(start)("size"));
        }
        self.stored = size;
        self.padding = size.next_multiple_of(BLOCK as u64) - size;
        Ok(())
    }

    fn skip_data(&mut self) -> Result<(), Error> {
        let mut left = self.stored + self.padding;
        (self.stored, self.padding) = (0, 0);
        while left > 0 {
            let available = self.fill()?.len() as u64;
            if available == 0 {
                return Err(Error::Truncated { position: self.position });
            }
            let step = available.min(left);
            // Never more than what is in the buffer, whose length is a usize.
            self.advance(usize::try_from(step).unwrap_or(usize::MAX));
            left -= step;
        }
        Ok(())
    }

    fn read_block(&mut self) -> Result<Block, Error> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            let available = self.fill()?;
            if available.is_empty() {
                return Err(Error::Truncated { position: self.position });
            }
            let step = available.len().min(BLOCK - filled);
            block[filled..filled + step].copy_from_slice(&available[..step]);
            filled += step;
            self.advance(step);
        }
        Ok(block)
    }

    /// Stored bytes of the current entry; empty at its end. [`Self::consume_entry`] passes over them.
    pub(in crate::image) fn fill_entry(&mut self) -> Result<&[u8], Error> {
        if self.stored == 0 {
            return Ok(&[]);
        }
        let (stored, position) = (self.stored, self.position);
        let available = self.fill()?;
        if available.is_empty() {
            return Err(Error::Truncated { position });
        }
        let length = usize::try_from(stored).unwrap_or(usize::MAX).min(available.len());
        Ok(&available[..length])
    }

    /// Passes over bytes that [`Self::fill_entry`] gave.
    pub(in crate::image) fn consume_entry(&mut self, length: usize) {
        self.stored -= length as u64;
        self.advance(length);
    }

    fn fill(&mut self) -> Result<&[u8], Error> {
        let position = self.position;
        self.source.fill_buf().map_err(|source| Error::Read { position, source })
    }

    fn advance(&mut self, length: usize) {
        self.source.consume(length);
        self.position += length as u64;
    }
}

/// The current entry's stored data.
impl<R: BufRead> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_entry().map_err(io::Error::other)?;
        let length = available.len().min(buffer.len());
        buffer[..length].copy_from_slice(&available[..length]);
        self.consume_entry(length);
        Ok(length)
    }
}

fn malformed(position: u64) -> impl Fn(&'static str) -> Error {
    move |what| Error::Header { position, what }
}

/// Reads the fields of a header block.
fn from_block(block: &Block) -> Result<Header, &'static str> {
    let number = |field: block::Field, what| field.number(block).ok_or(what);
    let id = |field, what| u32::try_from(number(field, what)?).map_err(|_| what);
    let prefix = block::prefix(block);
    let mut path = prefix.to_vec();
    if !prefix.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(block::NAME.text(block));
    let kind = match block[block::TYPE] {
        b'0' | 0 | b'7' | b'S' => Kind::File,
        b'1' => Kind::HardLink,
        b'2' => Kind::SymbolicLink,
        b'3' => Kind::CharDevice,
        b'4' => Kind::BlockDevice,
        b'5' => Kind::Directory,
        b'6' => Kind::Fifo,
        other => Kind::Other(other),
    };
    let device = match kind {
        Kind::CharDevice | Kind::BlockDevice => {
            (id(block::MAJOR, "device number")?, id(block::MINOR, "device number")?)
        }
        _ => (0, 0),
    };
    Ok(Header {
        path,
        link: block::LINK.text(block).to_vec(),
        kind,
        // Some writers put the file type there too.
        mode: u32::try_from(number(block::MODE, "mode")? & 0o7777).unwrap_or_default(),
        uid: id(block::UID, "uid")?,
        gid: id(block::GID, "gid")?,
        size: u64::try_from(number(block::SIZE, "size")?).map_err(|_| "size")?,
        mtime: Time { seconds: number(block::MTIME, "mtime")?, nanos: 0 },
        device,
        xattrs: std::collections::BTreeMap::new(),
        sparse: None,
    })
}
