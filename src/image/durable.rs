//! Files that are there after a power loss, whole or not at all.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::sync::{Mutex, watch};

use super::Error;
use crate::task;

/// Prefix of files and directories that are not complete yet.
pub(super) const UNFINISHED: &str = ".tmp-";

/// Writes a file that then has either its old content or `content`, whatever happens. Blocking.
pub(super) fn write_file(path: &Path, content: &[u8]) -> Result<(), Error> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let unfinished = directory.join(unfinished_name());
    let write = || {
        let mut file = File::create_new(&unfinished)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&unfinished, path)
    };
    write().map_err(|source| {
        // Left behind, it is cleaned up at the next start.
        let _ = fs::remove_file(&unfinished);
        Error::file("write", path, source)
    })?;
    sync_directory(directory)
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

/// Writes a whole file system out (`syncfs(2)`) for many callers at once.
///
/// A layer is thousands of files; one call for all of them costs as much as an `fsync(2)` of a few. Callers that come
/// while a call is running share the next one.
#[derive(Debug)]
pub(super) struct FileSystemSync {
    path: PathBuf,
    /// Held by whoever makes the call.
    turn: Mutex<()>,
    /// Number of calls begun, and of calls that ended well.
    begun: watch::Sender<u64>,
    done: watch::Sender<u64>,
}

impl FileSystemSync {
    /// For the file system that `path` is on.
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, turn: Mutex::new(()), begun: watch::Sender::new(0), done: watch::Sender::new(0) }
    }

    /// Returns when everything that was written before has reached the disk.
    pub(super) async fn sync(self: &Arc<Self>) -> Result<(), Error> {
        // A call that has begun already may have passed what this caller wrote.
        let needed = *self.begun.borrow() + 1;
        let _turn = self.turn.lock().await;
        if *self.done.borrow() >= needed {
            return Ok(());
        }
        let number = *self.begun.borrow() + 1;
        self.begun.send_replace(number);
        let this = Arc::clone(self);
        task::blocking(move || this.sync_now()).await?;
        self.done.send_replace(number);
        Ok(())
    }

    /// The same, by a call of its own. Blocking.
    pub(super) fn sync_now(&self) -> Result<(), Error> {
        let synced = File::open(&self.path).and_then(|directory| Ok(rustix::fs::syncfs(directory)?));
        synced.map_err(|source| Error::file("sync the file system of", &self.path, source))
    }
}
