//! The writer: ustar, with a PAX extended header before each entry that needs one.

use std::io::Write;

use super::{
    BLOCK, Error, Header, Kind,
    block::{self, Block},
    pax,
};

/// Writes an archive. Equal entries give equal bytes.
#[derive(Debug)]
pub(in crate::image) struct Writer<W> {
    sink: W,
    /// Data that the current entry still lacks, and the zeros after it.
    missing: u64,
    padding: usize,
}

impl<W: Write> Writer<W> {
    /// Starts an empty archive.
    pub(in crate::image) fn new(sink: W) -> Self {
        Self { sink, missing: 0, padding: 0 }
    }

    /// Writes an entry with its data, whose length must be the header's size.
    pub(in crate::image) fn append(&mut self, header: &Header, data: &[u8]) -> Result<(), Error> {
        self.start(header)?;
        self.data(header, data)
    }

    /// Begins an entry; [`Self::data`] must then be called until all of the header's size is written.
    pub(in crate::image) fn start(&mut self, header: &Header) -> Result<(), Error> {
        debug_assert_eq!((self.missing, self.padding), (0, 0), "the entry before is complete");
        let mut block = [0; BLOCK];
        let records = fill_block(&mut block, header);
        if !records.is_empty() {
            self.extended(&records, header)?;
        }
        seal(&mut block);
        self.put(header, &block)?;
        self.missing = data_size(header);
        self.padding = padding(self.missing);
        self.finish_entry(header)
    }

    /// Writes the next part of the current entry's data.
    pub(in crate::image) fn data(&mut self, header: &Header, part: &[u8]) -> Result<(), Error> {
        let left = self.missing.checked_sub(part.len() as u64);
        self.missing = left.ok_or_else(|| write_error(header, std::io::ErrorKind::WriteZero.into()))?;
        self.put(header, part)?;
        self.finish_entry(header)
    }

    /// Ends the archive and gives the sink back.
    pub(in crate::image) fn finish(mut self) -> Result<W, Error> {
        let end = Header::new("", Kind::File);
        if self.missing > 0 {
            return Err(write_error(&end, std::io::ErrorKind::UnexpectedEof.into()));
        }
        self.put(&end, &[0; 2 * BLOCK])?;
        Ok(self.sink)
    }

    fn finish_entry(&mut self, header: &Header) -> Result<(), Error> {
        if self.missing == 0 {
            let padding = std::mem::take(&mut self.padding);
            self.put(header, &[0; BLOCK][..padding])?;
        }
        Ok(())
    }

    fn extended(&mut self, records: &[u8], header: &Header) -> Result<(), Error> {
        let mut block = [0; BLOCK];
        put_text(block::NAME.of_mut(&mut block), b"././@PaxHeader");
        block::write_octal(block::MODE.of_mut(&mut block), 0o644);
        block::write_octal(block::UID.of_mut(&mut block), 0);
        block::write_octal(block::GID.of_mut(&mut block), 0);
        block::write_octal(block::SIZE.of_mut(&mut block), records.len() as u64);
        block::write_octal(block::MTIME.of_mut(&mut block), 0);
        block[block::TYPE] = b'x';
        seal(&mut block);
        self.put(header, &block)?;
        self.put(header, records)?;
        self.put(header, &[0; BLOCK][..padding(records.len() as u64)])
    }

    fn put(&mut self, header: &Header, bytes: &[u8]) -> Result<(), Error> {
        self.sink.write_all(bytes).map_err(|source| write_error(header, source))
    }
}

fn write_error(header: &Header, source: std::io::Error) -> Error {
    Error::Write { path: String::from_utf8_lossy(&header.path).into_owned(), source }
}

/// Zeros that fill the last block of `size` bytes up.
fn padding(size: u64) -> usize {
    // Less than a block.
    usize::try_from(size.next_multiple_of(BLOCK as u64) - size).unwrap_or_default()
}

/// Bytes of data that follow the header.
fn data_size(header: &Header) -> u64 {
    match (&header.kind, &header.sparse) {
        (Kind::File, None) => header.size,
        (Kind::File, Some(segments)) => segments.iter().map(|segment| segment.length).sum(),
        _ => 0,
    }
}

/// Fills in all fields but the checksum; returns the PAX records for what does not fit.
fn fill_block(block: &mut Block, header: &Header) -> Vec<u8> {
    let mut records = Vec::new();
    let path: &[u8] = if header.kind == Kind::Directory && !header.path.ends_with(b"/") {
        &[&header.path[..], b"/"].concat()
    } else {
        &header.path
    };
    if !put_path(block, path) {
        pax::push_record(&mut records, b"path", path);
    }
    if !put_text(block::LINK.of_mut(block), &header.link) {
        pax::push_record(&mut records, b"linkpath", &header.link);
    }
    let mut number = |field: block::Field, key: &[u8], number: u64| {
        if !block::write_octal(field.of_mut(block), number) {
            block::write_octal(field.of_mut(block), 0);
            pax::push_record(&mut records, key, number.to_string().as_bytes());
        }
    };
    number(block::MODE, b"mode", header.mode.into());
    number(block::UID, b"uid", header.uid.into());
    number(block::GID, b"gid", header.gid.into());
    number(block::SIZE, b"size", data_size(header));
    number(block::MAJOR, b"SCHILY.devmajor", header.device.0.into());
    number(block::MINOR, b"SCHILY.devminor", header.device.1.into());
    let seconds = u64::try_from(header.mtime.seconds).ok();
    let fits = seconds.is_some_and(|seconds| block::write_octal(block::MTIME.of_mut(block), seconds));
    if !fits {
        block::write_octal(block::MTIME.of_mut(block), 0);
    }
    if !fits || header.mtime.nanos != 0 {
        pax::push_record(&mut records, b"mtime", pax::format_time(header.mtime).as_bytes());
    }
    if let Some(segments) = &header.sparse {
        let map: Vec<_> = segments.iter().map(|segment| format!("{},{}", segment.offset, segment.length)).collect();
        pax::push_record(&mut records, b"GNU.sparse.size", header.size.to_string().as_bytes());
        pax::push_record(&mut records, b"GNU.sparse.map", map.join(",").as_bytes());
    }
    for (name, value) in &header.xattrs {
        pax::push_record(&mut records, &[pax::XATTR, name].concat(), value);
    }
    block[block::TYPE] = match header.kind {
        Kind::File => b'0',
        Kind::HardLink => b'1',
        Kind::SymbolicLink => b'2',
        Kind::CharDevice => b'3',
        Kind::BlockDevice => b'4',
        Kind::Directory => b'5',
        Kind::Fifo => b'6',
        Kind::Other(flag) => flag,
    };
    records
}

/// Puts a path into the name field, or into prefix and name; false (with what fits) if it goes into neither.
fn put_path(block: &mut Block, path: &[u8]) -> bool {
    if put_text(block::NAME.of_mut(block), path) {
        return true;
    }
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    let split = slashes.filter(|at| (1..=155).contains(at)).find(|at| (1..=100).contains(&(path.len() - at - 1)));
    match split {
        Some(at) if !path.contains(&0) => {
            put_text(block::PREFIX.of_mut(block), &path[..at]);
            block::NAME.of_mut(block).fill(0);
            put_text(block::NAME.of_mut(block), &path[at + 1..])
        }
        _ => false,
    }
}

/// Copies as much of `text` as fits; false if that is not all of it.
fn put_text(field: &mut [u8], text: &[u8]) -> bool {
    let length = text.len().min(field.len());
    field[..length].copy_from_slice(&text[..length]);
    length == text.len() && !text.contains(&0)
}

/// Adds magic and checksum.
fn seal(block: &mut Block) {
    block::MAGIC.of_mut(block).copy_from_slice(block::USTAR);
    let (sum, _) = block::checksums(block);
    let field = block::CHECKSUM.of_mut(block);
    block::write_octal(&mut field[..7], sum.unsigned_abs());
    field[7] = b' ';
}
