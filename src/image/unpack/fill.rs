//! Small files are filled on a second thread.
//!
//! Making a file, writing to it and setting its attributes cost the kernel about the same time each. A layer with
//! thousands of small files is bound by that, so one thread makes files and another one writes what goes into them.
//! Only open files are handed over: whatever happens to their names meanwhile does not matter.

use std::{
    fs::File,
    io::{self, Write as _},
    os::fd::AsFd as _,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread::{self, JoinHandle},
};

use super::{Attributes, Error, error::shown};

/// Largest file that is handed over; the content is copied for it.
pub(super) const LARGEST: u64 = 32 << 10;
/// Files and bytes that are handed over together: waking a thread for each file would cost more than it gains.
const FILES: usize = 32;
const BYTES: usize = 128 << 10;
/// Batches that wait at most.
const WAITING: usize = 2;

/// A file that has been made, and what goes into it.
struct Filling {
    file: File,
    content: std::ops::Range<usize>,
    attributes: Attributes,
    /// Its name, for messages.
    path: Vec<u8>,
}

/// Files that are handed over together.
#[derive(Default)]
struct Batch {
    files: Vec<Filling>,
    content: Vec<u8>,
}

/// Fills files in the background.
#[derive(Default)]
pub(super) struct Filler {
    batch: Batch,
    /// The thread, from the first full batch on.
    thread: Option<FillThread>,
}

/// Where batches go, and what has become of them in the end.
type FillThread = (SyncSender<Batch>, JoinHandle<Result<(), Error>>);

impl Filler {
    /// Has a file filled that was just made. `content` appends what goes into it.
    pub(super) fn add(
        &mut self,
        file: File,
        path: &[u8],
        attributes: Attributes,
        content: impl FnOnce(&mut Vec<u8>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let batch = &mut self.batch;
        let start = batch.content.len();
        content(&mut batch.content)?;
        let content = start..batch.content.len();
        batch.files.push(Filling { file, content, attributes, path: path.to_vec() });
        if batch.files.len() == FILES || batch.content.len() >= BYTES {
            self.hand_over()?;
        }
        Ok(())
    }

    fn hand_over(&mut self) -> Result<(), Error> {
        let batch = std::mem::take(&mut self.batch);
        let (sender, _) = match &self.thread {
            Some(thread) => thread,
            None => {
                let (sender, batches) = sync_channel(WAITING);
                let work = move || fill_all(&batches);
                let thread = thread::Builder::new().name("fill".to_owned()).spawn(work).map_err(Error::Thread)?;
                self.thread.insert((sender, thread))
            }
        };
        // If the thread is gone, `finish` tells why.
        let _ = sender.send(batch);
        Ok(())
    }

    /// Waits until all files are filled.
    pub(super) fn finish(mut self) -> Result<(), Error> {
        let rest = std::mem::take(&mut self.batch);
        let filled = rest.fill();
        match self.thread.take() {
            None => filled,
            Some((sender, thread)) => {
                drop(sender);
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).and(filled)
            }
        }
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        // After a failure elsewhere, nobody may write into the layer any more once that is told.
        if let Some((sender, thread)) = self.thread.take() {
            drop(sender);
            // Its failure comes second.
            let _ = thread.join();
        }
    }
}

fn fill_all(batches: &Receiver<Batch>) -> Result<(), Error> {
    batches.iter().try_for_each(Batch::fill)
}

impl Batch {
    fn fill(self) -> Result<(), Error> {
        for Filling { mut file, content, attributes, path } in self.files {
            let failed = |operation: &'static str| {
                let path = &path;
                move |source: io::Error| Error::File { operation, path: shown(path), source }
            };
            file.write_all(&self.content[content]).map_err(failed("write"))?;
            attributes.set(file.as_fd()).map_err(failed("set attributes of"))?;
        }
        Ok(())
    }
}
