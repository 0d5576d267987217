//! A file system whose server does not answer.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read as _, Write as _},
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::eventually;

/// `FUSE_INIT`, and the protocol that is agreed on: fuse(4), linux/fuse.h.
const INIT: u32 = 26;
const PROTOCOL: (u32, u32) = (7, 31);

/// What ends the system call of a process that looks something up on a [`SilentFileSystem`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hang {
    /// `SIGKILL`, as with an NFS server that is away: the kernel has not met the server yet.
    UntilKilled,
    /// Nothing but [`SilentFileSystem::abort`]: the server has the question, and does not answer.
    ForEver,
}

/// A FUSE file system that does not answer.
pub(crate) struct SilentFileSystem {
    path: PathBuf,
    /// Told of each question.
    questions: mpsc::Receiver<u32>,
}

impl SilentFileSystem {
    /// Mounts it on a new directory.
    pub(crate) fn mount(path: &Path, hang: Hang) -> Self {
        fs::create_dir(path).expect("make the mount point");
        let device = OpenOptions::new().read(true).write(true).open("/dev/fuse").expect("open /dev/fuse");
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
        mount(Some("silent"), path, Some("fuse"), MsFlags::empty(), Some(options.as_str())).expect("mount");
        let (told, questions) = mpsc::channel();
        thread::spawn(move || serve(device, hang, &told));
        Self { path: path.to_owned(), questions }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Waits until the kernel asks something.
    pub(crate) async fn wait_until_asked(&self) {
        eventually("the file system is asked", async || self.questions.try_recv().is_ok()).await;
    }

    /// Lets all who wait fail.
    pub(crate) fn abort(&self) {
        // Busy or not, it gives up its server (`fuse_umount_begin`).
        let _ = umount2(&self.path, MntFlags::MNT_FORCE);
    }
}

impl Drop for SilentFileSystem {
    fn drop(&mut self) {
        self.abort();
        // Unmounted by now, if it was not busy.
        let _ = umount2(&self.path, MntFlags::MNT_DETACH);
    }
}

/// Agrees with the kernel on the protocol, and then reads all questions until the file system is aborted.
fn serve(mut device: File, hang: Hang, told: &mpsc::Sender<u32>) {
    let mut question = vec![0; 1 << 20];
    while let Ok(length) = device.read(&mut question) {
        let word = |at: usize| u32::from_ne_bytes(question[at..at + 4].try_into().expect("four bytes"));
        assert!(length >= 40, "a question has a header");
        if word(4) == INIT && hang == Hang::ForEver {
            // fuse_out_header, then fuse_init_out: versions, and all that is optional left at zero.
            let mut answer = vec![0; 16 + 64];
            let size = u32::try_from(answer.len()).expect("small");
            answer[..4].copy_from_slice(&size.to_ne_bytes());
            answer[8..16].copy_from_slice(&question[8..16]);
            answer[16..20].copy_from_slice(&PROTOCOL.0.to_ne_bytes());
            answer[20..24].copy_from_slice(&PROTOCOL.1.to_ne_bytes());
            device.write_all(&answer).expect("answer the kernel");
        } else {
            let _ = told.send(word(4));
        }
    }
}
