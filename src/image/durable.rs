//! Files that are there after a power loss, whole or not at all.

use std::{
    fs::{self, File, TryLockError},
    io::Write as _,
    path::Path,
};

use super::Error;

/// Prefix of files and directories that are not complete yet.
pub(super) const UNFINISHED: &str = ".tmp-";

/// Writes a file that then has either its old content or `content`, whatever happens: its name may be lost by a power
/// loss that comes soon after, but what has that name is whole. Blocking.
pub(super) fn write_file(path: &Path, content: &[u8]) -> Result<(), Error> {
    let write = |mut file: &File| file.write_all(content).map_err(|source| Error::file("write", path, source));
    write_file_with(path, 0o666, write)
}

/// Writes a file as [`write_file`] does, with the content that `write` gives it and, less the umask, this mode.
pub(super) fn write_file_with(
    path: &Path,
    mode: u32,
    write: impl FnOnce(&File) -> Result<(), Error>,
) -> Result<(), Error> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let directory = path.parent().unwrap_or(Path::new("/"));
    let unfinished = directory.join(unfinished_name());
    let failed = |source| Error::file("write", path, source);
    let written = File::options().write(true).create_new(true).mode(mode).open(&unfinished).map_err(failed);
    let written = written.and_then(|file| {
        write(&file)?;
        file.sync_all().and_then(|()| fs::rename(&unfinished, path)).map_err(failed)
    });
    if written.is_err() {
        // Left behind, it is cleaned up at the next start.
        let _ = fs::remove_file(&unfinished);
    }
    written
}

/// Makes the names in a directory survive a power loss. Blocking.
pub(super) fn sync_directory(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(|source| Error::file("sync", path, source))
}

/// Makes a directory and what leads to it, if they are missing. Blocking.
pub(super) fn make_directory(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| Error::file("make directory", path, source))
}

/// Takes a directory for this process alone, until the file that is returned is closed. Blocking.
pub(super) fn lock_directory(path: &Path) -> Result<File, Error> {
    let lock_path = path.join("lock");
    let failed = |source| Error::file("lock", &lock_path, source);
    let lock = File::options().create(true).truncate(false).write(true).open(&lock_path).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(Error::Locked(path.to_owned())),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// A name for something unfinished that nothing else has.
pub(super) fn unfinished_name() -> String {
    format!("{UNFINISHED}{}", random_name())
}

/// 16 random hexadecimal digits.
pub(super) fn random_name() -> String {
    let mut bytes = [0; 8];
    // Names clash at worst, which the file system then tells.
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    format!("{:016x}", u64::from_ne_bytes(bytes))
}
