//! Whether an image has the path that is to be mounted of it, told before a container is made.

use std::{
    path::{Path, PathBuf},
    thread,
};

use nix::sched::{CloneFlags, unshare};

use crate::runtime::{
    error::{At as _, LaunchError, Step},
    init::mounts,
};

/// Whether an image, by its layers, top layer first, has something at `path`: symbolic links are followed within the
/// image, as when it is mounted.
///
/// Blocks. The layers are put together in the mount namespace of a thread, on its `scratch`, an empty directory; nobody
/// else sees it.
///
/// # Errors
/// When the image cannot be put together, which says nothing of the path.
pub fn image_has_path(lower: &[PathBuf], path: &str, scratch: &Path) -> Result<bool, LaunchError> {
    let look = || {
        unshare(CloneFlags::CLONE_NEWNS).at(Step::Namespace, "mount")?;
        mounts::make_private()?;
        mounts::has_path(lower, path, scratch)
    };
    let looked =
        thread::scope(|scope| thread::Builder::new().spawn_scoped(scope, look).map(thread::ScopedJoinHandle::join));
    let looked = looked.at(Step::Clone, "a thread")?;
    looked.unwrap_or_else(|_| Err(LaunchError::new(Step::Mount, "the look into the image broke off")))
}
