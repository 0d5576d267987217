//! Limits of writable parts, kept by the file system as quotas of projects.
//!
//! Each limited snapshot has a project of its own. The number is written down before anything has it, and is nobody's
//! again when the file system counts no file of it: that holds whenever the daemon dies, and while the trash is emptied.

use std::{
    collections::HashSet,
    fs::File,
    io,
    ops::Range,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};

use crate::{
    image::{Error, usage::Space},
    sys::quota::{self, Amount},
    types::Size,
};

/// How much containers may write into their own layers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LayerLimits {
    /// For containers that ask for no limit; `None` for no limit.
    pub default: Option<Size>,
    /// Most that a container may ask for; `None` for no such bound.
    pub maximum: Option<Size>,
}

impl LayerLimits {
    /// Smallest limit that makes sense: below it, directories alone may use it up.
    pub const SMALLEST: Size = Size::mebibytes(1);

    /// The limit of a container that asks for this one.
    pub(super) fn of(self, asked: Option<Size>) -> Result<Option<Size>, Error> {
        let Some(asked) = asked else { return Ok(self.default) };
        let refuse = |bound, size| Err(Error::LayerLimit { asked, bound, size });
        match self.maximum {
            Some(maximum) if asked > maximum => refuse("at most", maximum),
            _ if asked < Self::SMALLEST => refuse("at least", Self::SMALLEST),
            _ => Ok(Some(asked)),
        }
    }
}

/// A limit, and the project that it is kept by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Quota {
    project: u32,
    size: Size,
}

impl Quota {
    /// Files with something in them take a block, which is 4 KiB on the usual file systems: they reach the limit of
    /// bytes first. That of inodes is for what takes none.
    const fn amount(self) -> Amount {
        Amount { bytes: self.size.bytes(), inodes: self.size.bytes() / 4096 }
    }
}

/// The projects of snapshots.
#[derive(Debug)]
pub(super) struct Quotas {
    path: PathBuf,
    directory: File,
    projects: Range<u32>,
    taken: Mutex<HashSet<u32>>,
}

impl Quotas {
    /// Looks at the directory that all snapshots are in. Blocking.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let opened = File::open(path).and_then(|directory| Ok((directory.metadata()?.ino(), directory)));
        let (inode, directory) = opened.map_err(|source| Error::file("open directory", path, source))?;
        Ok(Self { path: path.to_owned(), directory, projects: projects(inode), taken: Mutex::default() })
    }

    /// Whether the file system keeps limits. It may begin or cease to while it is mounted.
    pub(super) fn are_kept(&self) -> Result<bool, Error> {
        quota::keeps_limits(&self.directory).map_err(|source| self.failed("ask for the quotas of", source))
    }

    /// Fails, and says what to do, unless limits are kept.
    pub(super) fn must_be_kept(&self) -> Result<(), Error> {
        if self.are_kept()? { Ok(()) } else { Err(Error::NoQuotas(self.path.clone())) }
    }

    /// Takes a project for a snapshot that is limited to `size`. Nothing is limited yet. Blocking.
    pub(super) fn take(&self, size: Size) -> Result<Quota, Error> {
        self.must_be_kept()?;
        for project in self.projects.clone() {
            if !self.taken().insert(project) {
                continue;
            }
            // Files of it may be in the trash, or be another engine's on the same file system.
            let used = quota::usage(&self.directory, project);
            if matches!(used, Ok(Amount { bytes: 0, inodes: 0 })) {
                return Ok(Quota { project, size });
            }
            self.taken().remove(&project);
            used.map_err(|source| self.failed("count a project's files on", source))?;
        }
        Err(self.failed("find an unused project on", io::Error::from_raw_os_error(libc::ENOSPC)))
    }

    /// Limits what will be in these empty directories together. Blocking.
    pub(super) fn apply(&self, quota: Quota, directories: [&Path; 2]) -> Result<(), Error> {
        self.limit(quota).map_err(|source| self.failed("limit a project on", source))?;
        directories.into_iter().try_for_each(|path| {
            let entered = File::open(path).and_then(|directory| quota::enter_project(directory, quota.project));
            entered.map_err(|source| Error::file("limit", path, source))
        })
    }

    /// Knows the project of a snapshot that an earlier process made, and limits it as that did. Blocking.
    pub(super) fn adopt(&self, quota: Quota) {
        self.taken().insert(quota.project);
        if let Err(error) = self.limit(quota) {
            let path = self.path.display();
            tracing::warn!(project = quota.project, %path, %error, "a writable layer's limit is not kept");
        }
    }

    /// Gives a project back whose files are about to be removed: without its limit, which takes space of its own, but not
    /// to be taken again before they are gone. Blocking.
    pub(super) fn give_back(&self, quota: Quota) {
        if let Err(error) = quota::set_limit(&self.directory, quota.project, Amount::default()) {
            let path = self.path.display();
            tracing::warn!(project = quota.project, %path, %error, "a removed writable layer's limit is left");
        }
        self.taken().remove(&quota.project);
    }

    /// What a snapshot takes, if the file system tells.
    pub(super) fn usage(&self, quota: Quota) -> Option<Space> {
        let Amount { bytes, inodes } = quota::usage(&self.directory, quota.project).ok()?;
        Some(Space { bytes, inodes })
    }

    fn limit(&self, quota: Quota) -> io::Result<()> {
        quota::set_limit(&self.directory, quota.project, quota.amount())
    }

    fn failed(&self, operation: &'static str, source: io::Error) -> Error {
        Error::file(operation, &self.path, source)
    }

    fn taken(&self) -> MutexGuard<'_, HashSet<u32>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Projects for snapshots in the directory with this inode.
///
/// Administrators number theirs from 1, as docker does, and kubelet from 1,048,577; these begin at 2^30. Directories of
/// several engines on one file system have ranges of their own, most likely, and each engine uses the lowest numbers of
/// its range again and again, as XFS never gives back the place of a number that was used.
fn projects(inode: u64) -> Range<u32> {
    const FIRST: u32 = 1 << 30;
    const COUNT: u32 = 1 << 16;
    const RANGES: u64 = 1 << 14;
    let first = FIRST + u32::try_from(inode % RANGES).unwrap_or_default() * COUNT;
    first..first + COUNT
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Classify as _, Kind};

    fn size(text: &str) -> Size {
        text.parse().expect("a size")
    }

    #[test]
    fn what_is_asked_for_counts_up_to_the_maximum() {
        let limits = LayerLimits { default: Some(size("10m")), maximum: Some(size("20m")) };
        assert_eq!(limits.of(None).expect("the default"), Some(size("10m")));
        for asked in ["1m", "5m", "20m"] {
            assert_eq!(limits.of(Some(size(asked))).expect(asked), Some(size(asked)));
        }
        for (asked, sentence) in [
            ("21m", "a writable layer of 21MiB is asked for; it can be limited to 20MiB at most"),
            ("1023k", "a writable layer of 1023KiB is asked for; it can be limited to 1MiB at least"),
        ] {
            let error = limits.of(Some(size(asked))).expect_err(asked);
            assert_eq!((error.to_string().as_str(), error.kind()), (sentence, Kind::InvalidArgument));
        }
        let none = LayerLimits::default();
        assert_eq!(none.of(None).expect("none"), None);
        assert_eq!(none.of(Some(size("9t"))).expect("asked for"), Some(size("9t")));
    }

    #[test]
    fn ranges_of_projects_stay_clear_of_others_and_of_each_other() {
        let ranges = [0, 1, 2, (1 << 14) - 1].map(projects);
        for (index, range) in ranges.iter().enumerate() {
            assert!(range.start > 1_048_577 + (1 << 20) && range.end <= 1 << 31 && range.len() == 1 << 16, "{range:?}");
            assert!(ranges[..index].iter().all(|lower| lower.end <= range.start), "{range:?}");
        }
        assert_eq!(projects(5), projects((1 << 14) + 5));
    }

    #[test]
    fn a_file_system_without_quotas_takes_no_limit() {
        let quotas = Quotas::open(Path::new("/proc/self")).expect("opens");
        let error = quotas.take(size("1g")).expect_err("no quotas");
        assert_eq!(error.kind(), Kind::FailedPrecondition);
        assert!(error.to_string().contains("/proc/self") && error.to_string().contains("prjquota"), "{error}");
        assert!(quotas.taken().is_empty());
    }
}
