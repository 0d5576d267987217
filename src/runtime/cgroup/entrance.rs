//! The way into a cgroup for new processes.

use std::{
    fs::{File, OpenOptions},
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, OFlags, openat};

use super::Error;

/// Open files through which a new process gets into a cgroup.
///
/// The parent gives [`Entrance::directory`] to `clone3` with `CLONE_INTO_CGROUP`; the child calls [`Entrance::join`]
/// first of all, before it starts a thread or leaves the host's user namespace.
#[derive(Debug)]
pub struct Entrance {
    /// Directory in cgroup v2 or in a hybrid host's unified hierarchy.
    unified: Option<OwnedFd>,
    /// The `tasks` file of each v1 hierarchy.
    tasks: Vec<File>,
}

impl Entrance {
    /// Opens it: `unified` is a directory of cgroup2, `hierarchies` are directories of v1 hierarchies.
    pub(super) fn open(unified: Option<&Path>, hierarchies: impl Iterator<Item = PathBuf>) -> Result<Self, Error> {
        let unified = unified.map(open_directory).transpose()?;
        let tasks = hierarchies
            .map(|directory| {
                let path = directory.join("tasks");
                OpenOptions::new().write(true).open(&path).map_err(|source| Error::Open { path, source })
            })
            .collect::<Result<_, Error>>()?;
        Ok(Self { unified, tasks })
    }

    /// The directory for `CLONE_INTO_CGROUP`: cgroup v2, or the unified hierarchy of a hybrid host.
    pub fn directory(&self) -> Option<BorrowedFd<'_>> {
        self.unified.as_ref().map(AsFd::as_fd)
    }

    /// All that has to stay open for [`Entrance::join`].
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.directory().into_iter().chain(self.tasks.iter().map(File::as_fd))
    }

    /// Moves the calling, single-threaded process into the v1 hierarchies and, if it was not `cloned` into
    /// [`Entrance::directory`], into the unified one. Makes no allocation: safe after `fork`.
    ///
    /// A single thread that moves itself is the one move for which the kernel does not wait for an RCU grace period
    /// (`cgroup_procs_write_start`), and on v1 only the `tasks` file offers it.
    pub fn join(&self, cloned: bool) -> io::Result<()> {
        const MYSELF: &[u8] = b"0";
        for tasks in &self.tasks {
            rustix::io::write(tasks, MYSELF)?;
        }
        if let (Some(directory), false) = (&self.unified, cloned) {
            let procs = openat(directory, c"cgroup.procs", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
            rustix::io::write(procs, MYSELF)?;
        }
        Ok(())
    }
}

fn open_directory(path: &Path) -> Result<OwnedFd, Error> {
    rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| Error::Open { path: path.to_owned(), source: errno.into() })
}
