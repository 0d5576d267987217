//! Deleting in the background: what is to go is renamed away at once, so that nothing can see it any more.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread,
    time::Duration,
};

use super::{
    Error,
    durable::{make_directory, random_name},
};

/// A directory of things that are being deleted, on the file system where they were.
#[derive(Debug)]
pub(super) struct Trash {
    directory: PathBuf,
    queue: Sender<PathBuf>,
}

impl Trash {
    /// Opens the trash and begins to empty it of what an earlier process left. Blocking.
    pub(super) fn open(directory: PathBuf) -> Result<Self, Error> {
        make_directory(&directory)?;
        let (queue, queued) = channel();
        let failed = |source| Error::file("read directory", &directory, source);
        for left in fs::read_dir(&directory).map_err(failed)? {
            // The receiver is still here.
            let _ = queue.send(left.map_err(failed)?.path());
        }
        let emptying = thread::Builder::new().name("trash".to_owned()).spawn(move || empty(&queued));
        emptying.map_err(|source| Error::file("start emptying", &directory, source))?;
        Ok(Self { directory, queue })
    }

    /// Takes a file or a directory away from where it is; returns before its content is deleted. What is not there
    /// is no error.
    pub(super) fn discard(&self, path: &Path) -> Result<(), Error> {
        let discarded = self.directory.join(random_name());
        match fs::rename(path, &discarded) {
            Ok(()) => {
                // If the thread is gone, the next start empties the trash.
                let _ = self.queue.send(discarded);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(Error::file("remove", path, source)),
        }
    }
}

/// How long until what could not be deleted is tried again, at first and at last.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];

/// Deletes what comes until the store is closed. What cannot be deleted, as for want of descriptors, is tried again.
fn empty(queued: &Receiver<PathBuf>) {
    let mut left: Vec<PathBuf> = Vec::new();
    let [mut pause, longest] = PAUSES;
    loop {
        let next = match left.is_empty() {
            true => queued.recv().map_err(|_| RecvTimeoutError::Disconnected),
            false => queued.recv_timeout(pause),
        };
        match next {
            Ok(path) => left.extend(Some(path).filter(|path| !is_deleted(path))),
            Err(RecvTimeoutError::Timeout) => {
                left.retain(|path| !is_deleted(path));
                pause = if left.is_empty() { PAUSES[0] } else { longest.min(pause * 2) };
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn is_deleted(path: &Path) -> bool {
    let deleted = delete(path);
    if let Err(error) = &deleted {
        tracing::warn!(path = %path.display(), %error, "cannot delete yet");
    }
    deleted.is_ok()
}

fn delete(path: &Path) -> io::Result<()> {
    if !fs::symlink_metadata(path)?.is_dir() {
        return fs::remove_file(path);
    }
    match fs::remove_dir_all(path) {
        // A layer that was just written to the disk gets its mark even here, by its open directory.
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => fs::remove_dir_all(path),
        deleted => deleted,
    }
}
