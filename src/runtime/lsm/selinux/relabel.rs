//! Giving the files of a volume a container's label.

use std::{
    ffi::OsStr,
    io,
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, XattrFlags, fstat, lsetxattr, openat2, statat},
    io::Errno,
};

use super::Error;

const ATTRIBUTE: &str = "security.selinux";

/// Directories that belong to the whole host: with a container's label nothing else could use them any more.
const OF_THE_HOST: &[&str] = &[
    "/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib64", "/media", "/mnt", "/opt", "/proc", "/root",
    "/run", "/sbin", "/srv", "/sys", "/tmp", "/usr", "/var", "/var/lib", "/var/log", "/var/run",
];

/// Gives `path` and all below it the label; not through symbolic links or onto other file systems.
///
/// The volume may be in use by other containers, which may exchange directories for links meanwhile: so each directory is
/// opened anew from the top, with links refused by the kernel.
///
/// # Errors
/// Directories of the host itself, and what the kernel refuses. A file system without labels is passed over.
pub fn relabel(path: &Path, label: &str) -> Result<(), Error> {
    let failed =
        |path: &Path, source: io::Error| Error::Relabel { path: path.to_owned(), label: label.to_owned(), source };
    let real = path.canonicalize().map_err(|source| failed(path, source))?;
    if OF_THE_HOST.iter().any(|directory| real == Path::new(directory)) {
        return Err(failed(path, io::Error::new(io::ErrorKind::PermissionDenied, "it belongs to the host")));
    }
    set(&real, label).map_err(|source| failed(path, source))?;
    if !real.is_dir() {
        return Ok(());
    }
    let top = open(CWD, &real, ResolveFlags::NO_SYMLINKS).map_err(|errno| failed(path, errno.into()))?;
    let mut left = vec![PathBuf::from(".")];
    while let Some(relative) = left.pop() {
        let below = relabel_entries(&top, &relative, label).map_err(|source| failed(&path.join(&relative), source))?;
        left.extend(below.into_iter().map(|name| relative.join(name)));
    }
    Ok(())
}

/// Labels what is in a directory; returns the directories in it.
fn relabel_entries(top: &OwnedFd, relative: &Path, label: &str) -> io::Result<Vec<PathBuf>> {
    let within = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let directory = match open(top.as_fd(), relative, within) {
        // Exchanged or removed since it was listed, or another file system is mounted there.
        Err(errno) if is_elsewhere(errno) => return Ok(Vec::new()),
        result => result?,
    };
    let device = fstat(&directory)?.st_dev;
    // The descriptor stands for the directory whatever its name is by now.
    let path = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string());
    let mut below = Vec::new();
    for entry in Dir::read_from(&directory)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name == "." || name == ".." {
            continue;
        }
        let stat = match statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => continue,
            stat => stat?,
        };
        if stat.st_dev != device {
            continue;
        }
        set(&path.join(name), label)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            below.push(name.into());
        }
    }
    Ok(below)
}

/// Sets the label of a file or link itself; fine when it is gone, or its file system has no labels.
fn set(path: &Path, label: &str) -> io::Result<()> {
    match lsetxattr(path, ATTRIBUTE, label.as_bytes(), XattrFlags::empty()) {
        Err(Errno::NOENT | Errno::NOTSUP) => Ok(()),
        result => Ok(result?),
    }
}

fn open(at: BorrowedFd<'_>, path: &Path, resolve: ResolveFlags) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat2(at, path, flags, Mode::empty(), resolve)
}

fn is_elsewhere(errno: Errno) -> bool {
    matches!(errno, Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use rustix::fs::lgetxattr;

    use super::*;

    const LABEL: &str = "system_u:object_r:container_file_t:s0:c1,c2";

    fn label_of(path: &Path) -> Option<String> {
        let mut buffer = [0; 256];
        let length = lgetxattr(path, ATTRIBUTE, &mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..length]).trim_end_matches('\0').to_owned())
    }

    /// Needs root, but no SELinux: the attribute can be set without.
    #[test]
    fn all_below_is_labelled_and_links_are_not_followed() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let (volume, outside) = (dir.path().join("volume"), dir.path().join("outside"));
        fs::create_dir_all(volume.join("a/b")).expect("directories");
        fs::create_dir(&outside).expect("directory");
        for file in [volume.join("a/b/file"), volume.join("top"), outside.join("secret")] {
            fs::write(file, "").expect("file");
        }
        symlink(&outside, volume.join("a/link")).expect("link");
        symlink(outside.join("secret"), volume.join("file-link")).expect("link");
        let before = label_of(&outside);

        relabel(&volume, LABEL).expect("relabel");
        for labelled in ["", "a", "a/b", "a/b/file", "top"] {
            assert_eq!(label_of(&volume.join(labelled)).as_deref(), Some(LABEL), "{labelled:?}");
        }
        assert_eq!((label_of(&outside), label_of(&outside.join("secret"))), (before.clone(), before));
    }

    #[test]
    fn one_file_is_labelled_and_a_link_to_it_means_the_file() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&file, "").expect("file");
        symlink(&file, &link).expect("link");
        relabel(&link, LABEL).expect("relabel");
        assert_eq!(label_of(&file).as_deref(), Some(LABEL));
    }

    #[test]
    fn the_hosts_own_directories_are_refused() {
        for path in ["/", "/etc", "/usr/../var", "/proc"] {
            let error = relabel(Path::new(path), LABEL).expect_err(path);
            assert!(matches!(error, Error::Relabel { source, .. } if source.kind() == io::ErrorKind::PermissionDenied));
        }
        assert!(relabel(Path::new("/nonexistent/volume"), LABEL).is_err());
    }
}
