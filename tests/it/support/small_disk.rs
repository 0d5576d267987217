//! Disks that can be filled.

use std::{fs, path::PathBuf};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
};

/// A file system of its own, small enough to be filled. It is gone with the guard.
pub(crate) struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts it, where only this test's thread and the processes that it starts see it; see [`own_mounts`].
    pub(crate) fn mount(path: PathBuf, options: &str) -> Self {
        fs::create_dir_all(&path).expect("make the mount point");
        mount(Some("small"), &path, Some("tmpfs"), MsFlags::empty(), Some(options)).expect("mount a small disk");
        Self { path }
    }

    /// Writes until there is no room.
    pub(crate) fn fill(&self) {
        let mut file = fs::File::create(self.path.join("filler")).expect("make a file");
        let error = std::io::copy(&mut std::io::repeat(0), &mut file).expect_err("the disk has no end");
        assert_eq!(error.raw_os_error(), Some(libc::ENOSPC));
    }

    /// Makes files until there can be no more.
    pub(crate) fn fill_with_files(&self) {
        let directory = self.path.join("filler");
        fs::create_dir(&directory).expect("make a directory");
        let error = (0..).find_map(|number| fs::write(directory.join(format!("{number}")), "").err());
        assert_eq!(error.and_then(|error| error.raw_os_error()), Some(libc::ENOSPC));
    }

    pub(crate) fn empty(&self) {
        let filler = self.path.join("filler");
        if filler.is_dir() { fs::remove_dir_all(filler) } else { fs::remove_file(filler) }.expect("make room");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = umount2(&self.path, MntFlags::MNT_DETACH);
    }
}

/// Gives this thread, and all that it starts from now on, mounts of its own.
pub(crate) fn own_mounts() {
    unshare(CloneFlags::CLONE_NEWNS).expect("make a mount namespace");
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .expect("private mounts");
}
