//! Receiving a blob.

use std::{
    fs::{self, File},
    io::{self, Read, Write as _},
    path::{Path, PathBuf},
};

use crate::{
    image::{Error, durable::unfinished_name},
    types::Digest,
};

/// A blob that is being received into a file of its own; dropping it removes the file.
#[derive(Debug)]
pub(in crate::image) struct Ingest {
    path: PathBuf,
    file: File,
    hash: Hash,
    size: u64,
}

/// A running SHA-256.
struct Hash(ring::digest::Context);

impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hash")
    }
}

/// A blob that was received whole, under a name that means nothing yet; dropping it removes it.
#[derive(Debug)]
pub(in crate::image) struct Received {
    ingest: Ingest,
    /// Its digest.
    pub(super) digest: Digest,
    /// Its length in bytes.
    pub(super) size: u64,
}

impl Ingest {
    pub(super) fn begin(directory: &Path) -> Result<Self, Error> {
        let path = directory.join(unfinished_name());
        let file = File::create_new(&path).map_err(|source| Error::file("create", &path, source))?;
        Ok(Self { path, file, hash: Hash(ring::digest::Context::new(&ring::digest::SHA256)), size: 0 })
    }

    /// Appends the next bytes. Blocking.
    pub(in crate::image) fn write(&mut self, part: &[u8]) -> Result<(), Error> {
        self.hash.0.update(part);
        self.size += part.len() as u64;
        self.file.write_all(part).map_err(|source| Error::file("write", &self.path, source))
    }

    /// Appends all that a source gives. Blocking.
    pub(in crate::image) fn copy_from(&mut self, source: &mut impl Read) -> Result<(), Error> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            match source.read(&mut buffer).map_err(|source| Error::file("write", &self.path, source))? {
                0 => return Ok(()),
                length => self.write(&buffer[..length])?,
            }
        }
    }

    /// Checks its digest.
    pub(in crate::image) fn finish(self, expected: Option<Digest>) -> Result<Received, Error> {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.hash.0.clone().finish().as_ref());
        let digest = Digest::from_sha256(bytes);
        if let Some(expected) = expected.filter(|expected| *expected != digest) {
            return Err(Error::Corrupt { expected, actual: digest });
        }
        Ok(Received { digest, size: self.size, ingest: self })
    }
}

impl Received {
    /// Opens it for reading. Blocking.
    pub(in crate::image) fn open(&self) -> Result<File, Error> {
        File::open(self.path()).map_err(|source| Error::file("open", self.path(), source))
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.ingest.path
    }

    /// Brings it to the disk. Blocking.
    pub(super) fn sync(&self) -> Result<(), Error> {
        self.ingest.file.sync_all().map_err(|source| Error::file("sync", &self.ingest.path, source))
    }
}

/// Copies what is read from a source to a blob.
#[derive(Debug)]
pub(in crate::image) struct Copied<'a, R> {
    source: R,
    copy: Option<&'a mut Ingest>,
}

impl<'a, R: Read> Copied<'a, R> {
    /// Reads `source`, and copies it if there is a blob to copy it to.
    pub(in crate::image) fn new(source: R, copy: Option<&'a mut Ingest>) -> Self {
        Self { source, copy }
    }
}

impl<R: Read> Read for Copied<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.source.read(buffer)?;
        if let Some(copy) = &mut self.copy {
            copy.write(&buffer[..length]).map_err(io::Error::other)?;
        }
        Ok(length)
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        // Gone already when it was taken in; what stays by an error is cleaned up at the next start.
        let _ = fs::remove_file(&self.path);
    }
}
