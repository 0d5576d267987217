//! Fuzz targets of what registries and archives hold.

use std::{fs, io::Read as _};

use super::{
    config::Configuration,
    manifest::{self, Document},
    registry,
    tar::{self, BLOCK},
    unpack::{self, Limits},
};
use crate::types::Digest;

/// Where tar's header says that it is one.
const MAGIC: std::ops::Range<usize> = 257..262;
/// Where its checksum is, which counts as blanks.
const CHECKSUM: std::ops::Range<usize> = 148..156;

/// Small, so that bombs are found to be such at once.
const LIMITS: Limits = Limits { entries: 200, bytes: 1 << 20, names: 64 << 10 };

/// Manifests and indexes.
pub(crate) fn manifest(input: &[u8]) {
    let _ = registry::own_media_type(input);
    match Document::parse("example.com/a:1", Digest::of(input), "", input) {
        Ok(Document::Manifest(manifest)) => assert!(manifest.size() >= manifest.config.size),
        Ok(Document::Index(choices)) => {
            let chosen = manifest::choose("example.com/a:1", &choices);
            assert!(choices.iter().any(manifest::runs_here) || chosen.is_err(), "an image for another host");
        }
        Err(_) => {}
    }
}

/// An image's configuration.
pub(crate) fn config(input: &[u8]) {
    let Ok(configuration) = Configuration::parse(Digest::of(input), input) else { return };
    assert_eq!(Configuration::parse(Digest::of(input), input).ok(), Some(configuration));
}

/// A layer: whatever is in it, nothing outside of its directory changes.
pub(crate) fn layer(input: &[u8]) {
    unpack(input);
    let repaired = with_checksums(input);
    if repaired != input {
        unpack(&repaired);
    }
}

fn unpack(bytes: &[u8]) {
    let outer = tempfile::tempdir().expect("a directory");
    let path = |name| outer.path().join(name);
    fs::create_dir(path("fs")).expect("makes");
    fs::write(path("secret"), "outside").expect("writes");
    let before = fs::metadata(path("secret")).expect("is there");
    let root = fs::File::open(path("fs")).expect("opens");
    let unpacked = unpack::unpack(bytes, "", None, root.into(), LIMITS);
    let after = fs::metadata(path("secret")).expect("is still there");
    assert_eq!(before.permissions(), after.permissions());
    assert_eq!(before.modified().ok(), after.modified().ok());
    assert_eq!(fs::read(path("secret")).expect("is still there"), b"outside");
    assert_eq!(fs::read_dir(outer.path()).expect("lists").count(), 2, "something was made outside");
    if unpacked.is_ok() {
        read_to_end(bytes);
    }
}

/// What was unpacked was a whole archive, if it was not compressed.
fn read_to_end(bytes: &[u8]) {
    let mut reader = tar::Reader::new(bytes);
    while let Ok(Some(header)) = reader.next_entry() {
        assert!(header.mode <= 0o7777, "{header:?}");
        let read = std::io::copy(&mut reader.by_ref().take(LIMITS.bytes), &mut std::io::sink());
        if header.sparse.is_none() && header.size <= LIMITS.bytes {
            assert!(read.is_err() || read.is_ok_and(|read| read == header.size), "{header:?}");
        }
    }
}

/// The archive with checksums that are right: a change of a header would end the reading there otherwise.
fn with_checksums(input: &[u8]) -> Vec<u8> {
    let mut archive = input.to_vec();
    for header in archive.chunks_exact_mut(BLOCK).filter(|block| block[MAGIC] == *b"ustar") {
        header[CHECKSUM].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    archive
}
