//! Seals of layers: a digest of what their directories should look like.
//!
//! It covers names, kinds, modes, owners, lengths, times, devices and targets of links: all that an interrupted write or
//! a careless hand changes. It does not cover content, which would have to be read back from the disk.

use std::{
    fs::{self, Metadata},
    io,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::Path,
};

use crate::types::Digest;

/// Computes the seal of a directory. Blocking.
pub(super) fn seal(directory: &Path) -> io::Result<Digest> {
    let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
    // What overlayfs or the engine change of a root has no part in it: only what is below.
    let mut pending = vec![directory.to_owned()];
    while let Some(directory) = pending.pop() {
        let mut entries = fs::read_dir(&directory)?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        hash.update(&(entries.len() as u64).to_be_bytes());
        for entry in entries {
            let found = entry.metadata()?;
            let name = entry.file_name();
            hash.update(&(name.len() as u64).to_be_bytes());
            hash.update(name.as_bytes());
            describe(&mut hash, &found);
            if found.is_dir() {
                pending.push(entry.path());
            } else if found.is_symlink() {
                hash.update(fs::read_link(entry.path())?.as_os_str().as_bytes());
            }
        }
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(hash.finish().as_ref());
    Ok(Digest::from_sha256(bytes))
}

fn describe(hash: &mut ring::digest::Context, found: &Metadata) {
    // Lengths of directories are the file system's own business.
    let size = if found.is_dir() { 0 } else { found.size() };
    for number in [u64::from(found.mode()), u64::from(found.uid()), u64::from(found.gid()), size, found.rdev()] {
        hash.update(&number.to_be_bytes());
    }
    for number in [found.mtime(), found.mtime_nsec()] {
        hash.update(&number.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn a_seal_is_broken_by_any_change() {
        let directory = tempfile::tempdir().expect("makes a directory");
        let path = |name: &str| directory.path().join(name);
        fs::create_dir(path("d")).expect("makes");
        fs::write(path("d/f"), "content").expect("writes");
        symlink("f", path("d/l")).expect("links");
        let whole = seal(directory.path()).expect("seals");
        assert_eq!(seal(directory.path()).expect("seals"), whole);

        let mut seen = vec![whole];
        let mut changed = |what: &str| {
            let now = seal(directory.path()).expect("seals");
            assert!(!seen.contains(&now), "{what} is not seen");
            seen.push(now);
        };
        fs::File::options().write(true).open(path("d/f")).expect("opens").set_len(3).expect("cuts");
        changed("a shorter file");
        fs::set_permissions(path("d/f"), fs::Permissions::from_mode(0o4755)).expect("is ours");
        changed("another mode");
        fs::remove_file(path("d/l")).expect("removes");
        changed("a missing link");
        fs::rename(path("d/f"), path("d/g")).expect("renames");
        changed("another name");
    }
}
