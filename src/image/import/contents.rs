//! What is in an archive: documents in memory and layers unpacked, by path.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Cursor, Read},
};

use super::{KEEP_STREAMS, refused};
use crate::{
    image::{
        Error, Store,
        content::MAX_DOCUMENT,
        receive::{LayerPart, ReceivedLayer},
        tar::{self, Kind},
        unpack::{Compression, Expected},
    },
    types::Digest,
};

/// Documents that an archive may hold, by number and by bytes together.
const MAX_DOCUMENTS: usize = 10_000;
const MAX_DOCUMENT_BYTES: usize = 32 << 20;
/// Bytes at the beginning of a file that tell whether it is a layer: a tar header block.
const START: u64 = 512;
/// Where content is named by its digest.
pub(super) const BLOBS: &str = "blobs/sha256/";

/// An archive's contents.
#[derive(Debug, Default)]
pub(super) struct Contents {
    documents: HashMap<String, Vec<u8>>,
    document_bytes: usize,
    layers: HashMap<String, ArchivedLayer>,
    /// Targets of links by path: docker archives hold equal layers once.
    links: HashMap<String, String>,
}

/// A layer that stood in the archive.
#[derive(Debug)]
pub(super) struct ArchivedLayer {
    /// Digest of its stream.
    pub(super) digest: Digest,
    /// Length of its stream.
    pub(super) size: u64,
    /// How the stream is compressed.
    pub(super) compression: Compression,
    state: State,
}

/// Where a layer is now.
#[derive(Debug)]
enum State {
    /// It was in the store before.
    Present(LayerPart),
    /// It is unpacked, and not visible yet.
    Received(Box<ReceivedLayer>),
}

impl Contents {
    /// Reads an archive, which may be compressed. Blocking.
    pub(super) fn read(store: &Store, archive: impl Read + Send) -> Result<Self, Error> {
        let mut archive = BufReader::new(archive);
        let mut start = Vec::new();
        let read_error = |source| Error::Archive(tar::Error::Read { position: 0, source });
        archive.by_ref().take(START).read_to_end(&mut start).map_err(read_error)?;
        let compression = Compression::sniff(&start).map_err(|error| refused(error.to_string()))?;
        let decoder = compression.decoder(Cursor::new(start).chain(archive)).map_err(read_error)?;
        let mut reader = tar::Reader::new(BufReader::with_capacity(128 << 10, decoder));
        let mut contents = Self::default();
        while let Some(header) = reader.next_entry()? {
            let path = clean(&header.path);
            match header.kind {
                Kind::File => contents.file(store, path, header.size, &mut reader)?,
                Kind::SymbolicLink => contents.link(&path, parent(&path), &header.link),
                Kind::HardLink => contents.link(&path, "", &header.link),
                _ => {}
            }
        }
        Ok(contents)
    }

    fn file(
        &mut self,
        store: &Store,
        path: String,
        size: u64,
        reader: &mut tar::Reader<impl BufRead + Send>,
    ) -> Result<(), Error> {
        let mut start = Vec::new();
        reader.take(START).read_to_end(&mut start).map_err(archive_error)?;
        let digest = path.strip_prefix(BLOBS).and_then(|hex| format!("sha256:{hex}").parse::<Digest>().ok());
        if !is_layer(&start) {
            return self.read_document(path, size, start, digest, reader);
        }
        let compression = Compression::sniff(&start).map_err(|error| refused(format!("{path}: {error}")))?;
        let present = digest.and_then(|digest| Some((digest, LayerPart::present(store, digest, KEEP_STREAMS)?)));
        let layer = if let Some((digest, part)) = present {
            ArchivedLayer { digest, size, compression, state: State::Present(part) }
        } else {
            let expected = digest.map(|digest| Expected { digest, size });
            let received = ReceivedLayer::receive(store, Cursor::new(start).chain(reader), "", expected, KEEP_STREAMS)?;
            let digest = received.unpacked().digest;
            ArchivedLayer { digest, size, compression, state: State::Received(Box::new(received)) }
        };
        self.layers.insert(path, layer);
        Ok(())
    }

    /// Keeps a file in memory if it can be a document.
    fn read_document(
        &mut self,
        path: String,
        size: u64,
        mut bytes: Vec<u8>,
        digest: Option<Digest>,
        reader: &mut impl Read,
    ) -> Result<(), Error> {
        if size > MAX_DOCUMENT {
            return Ok(());
        }
        reader.read_to_end(&mut bytes).map_err(archive_error)?;
        self.document_bytes += bytes.len();
        if self.documents.len() >= MAX_DOCUMENTS || self.document_bytes > MAX_DOCUMENT_BYTES {
            return Err(refused("it holds too many files that are not layers"));
        }
        match digest {
            Some(expected) if Digest::of(&bytes) != expected => {
                Err(Error::Corrupt { expected, actual: Digest::of(&bytes) })
            }
            _ => {
                self.documents.insert(path, bytes);
                Ok(())
            }
        }
    }

    fn link(&mut self, path: &str, base: &str, target: &[u8]) {
        if self.links.len() < MAX_DOCUMENTS {
            self.links.insert(path.to_owned(), clean(&[base.as_bytes(), b"/", target].concat()));
        }
    }

    /// A document by its path.
    pub(super) fn document(&self, path: &str) -> Option<&[u8]> {
        self.documents.get(path).map(Vec::as_slice)
    }

    /// A document by its digest.
    pub(super) fn blob(&self, digest: Digest) -> Result<&[u8], Error> {
        self.document(&format!("{BLOBS}{}", digest.hex())).ok_or(Error::Missing(digest))
    }

    /// A layer by its path, or by that of a link to it.
    pub(super) fn layer(&self, path: &str) -> Option<&ArchivedLayer> {
        let path = clean(path.as_bytes());
        self.layers.get(&path).or_else(|| self.layers.get(self.links.get(&path)?))
    }

    /// Makes all layers visible. Blocking.
    pub(super) fn commit_layers(self, store: &Store) -> Result<Vec<LayerPart>, Error> {
        let commit = |layer: ArchivedLayer| match layer.state {
            State::Present(part) => Ok(part),
            State::Received(received) => received.commit(store),
        };
        self.layers.into_values().map(commit).collect()
    }
}

/// Whether a file that begins like this is a layer: an archive, compressed in whatever way, or an empty one.
fn is_layer(start: &[u8]) -> bool {
    let is_compressed = !matches!(Compression::sniff(start), Ok(Compression::None));
    let is_tar = start.get(257..262) == Some(b"ustar");
    let is_empty_tar = start.len() as u64 == START && start.iter().all(|byte| *byte == 0);
    is_compressed || is_tar || is_empty_tar
}

/// A path without `.`, `..` and empty components; archives name their files in many ways.
fn clean(path: &[u8]) -> String {
    let path = String::from_utf8_lossy(path);
    let mut components = Vec::new();
    for component in path.split('/') {
        match component {
            "" | "." => {}
            ".." => drop(components.pop()),
            other => components.push(other),
        }
    }
    components.join("/")
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// Takes the archive reader's own error out of the one that it had to be wrapped in.
fn archive_error(error: std::io::Error) -> Error {
    match error.downcast::<tar::Error>() {
        Ok(error) => Error::Archive(error),
        Err(source) => Error::Archive(tar::Error::Read { position: 0, source }),
    }
}
