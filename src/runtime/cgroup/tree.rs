//! A directory in one hierarchy and all below it.

use std::{
    fs, io,
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

use super::{Error, file};

/// How long dying processes may keep a directory from being removed.
const REMOVAL_BOUND: Duration = Duration::from_secs(2);
/// First pause between two tries; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_micros(50);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// Calls `done` again and again with growing pauses until it says `true`; `false` when `bound` has passed.
pub(super) fn wait(bound: Duration, mut done: impl FnMut() -> Result<bool, Error>) -> Result<bool, Error> {
    let start = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        if done()? {
            return Ok(true);
        }
        if start.elapsed() >= bound {
            return Ok(false);
        }
        sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Makes `directory` and its missing parents; says whether it is new.
pub(super) fn create(directory: &Path) -> Result<bool, Error> {
    match fs::create_dir(directory) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parent = directory.parent().ok_or(Error::NotMounted)?;
            create(parent)?;
            match fs::create_dir(directory) {
                Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
                    Err(Error::Create { path: directory.to_owned(), source })
                }
                made => Ok(made.is_ok()),
            }
        }
        Err(source) => Err(Error::Create { path: directory.to_owned(), source }),
    }
}

/// All directories below `directory` and itself, each after those below it; empty if it is gone.
fn deepest_first(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut found = vec![directory.to_owned()];
    let mut next = 0;
    while next < found.len() {
        let path = &found[next];
        let below = match fs::read_dir(path) {
            Ok(entries) => entries
                .filter_map(Result::ok)
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                .map(|entry| entry.path())
                .collect::<Vec<_>>(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(source) => return Err(Error::Read { path: path.clone(), source }),
        };
        found.extend(below);
        next += 1;
    }
    found.reverse();
    Ok(found)
}

/// Processes in `directory` and below it, by the ids of the caller's PID namespace.
pub(super) fn processes(directory: &Path) -> Result<Vec<i32>, Error> {
    let mut pids = Vec::new();
    for path in deepest_first(directory)? {
        // Gone since it was listed, or a threaded group, whose processes its domain lists.
        let text = file::present(file::read_as(file::Shown::ByRecord, &path.join("cgroup.procs")))?;
        // A process outside our PID namespace is shown as 0, which must never reach kill(2).
        let listed = text.iter().flat_map(|text| text.lines()).filter_map(|pid| pid.parse::<i32>().ok());
        pids.extend(listed.filter(|pid| *pid > 0));
    }
    Ok(pids)
}

/// Removes `directory` with all below it; fine when it is gone. Retries while dying processes hold it.
pub(super) fn remove(directory: &Path) -> Result<(), Error> {
    let mut last = None;
    let gone = wait(REMOVAL_BOUND, || {
        match remove_once(directory) {
            Ok(()) => return Ok(true),
            Err(Error::Remove { source, path }) if is_held(&source) => last = Some(Error::Remove { source, path }),
            Err(error) => return Err(error),
        }
        Ok(false)
    })?;
    match last {
        Some(error) if !gone => Err(error),
        _ => Ok(()),
    }
}

/// Removes `directory` with all below it, without waiting for processes to die.
pub(super) fn remove_once(directory: &Path) -> Result<(), Error> {
    // Nearly always there is nothing below, so one call does it.
    if remove_directory(directory).is_ok() {
        return Ok(());
    }
    deepest_first(directory)?.iter().try_for_each(|path| remove_directory(path))
}

fn remove_directory(path: &Path) -> Result<(), Error> {
    match fs::remove_dir(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(Error::Remove { path: path.to_owned(), source }),
        _ => Ok(()),
    }
}

fn is_held(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EBUSY | libc::ENOTEMPTY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_are_made_and_the_whole_tree_is_removed_from_below() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let top = dir.path().join("pod");
        assert!(create(&top.join("a/b")).expect("create"));
        assert!(!create(&top.join("a/b")).expect("create again"));
        create(&top.join("c")).expect("create");
        remove(&top).expect("remove");
        assert!(!top.exists());
        remove(&top).expect("remove what is gone");
    }

    #[test]
    fn processes_below_are_found_and_foreign_ones_left_out() {
        let dir = tempfile::tempdir().expect("temporary directory");
        fs::create_dir_all(dir.path().join("sub/empty")).expect("directory");
        fs::write(dir.path().join("cgroup.procs"), "12\n0\n").expect("file");
        fs::write(dir.path().join("sub/cgroup.procs"), "7\n").expect("file");
        assert_eq!(processes(dir.path()).expect("processes"), [7, 12]);
        assert_eq!(processes(&dir.path().join("gone")).expect("processes"), [] as [i32; 0]);
    }

    #[test]
    fn waiting_has_an_end() {
        assert!(!wait(Duration::from_millis(1), || Ok(false)).expect("no error"));
        let mut tries = 0;
        let third = || {
            tries += 1;
            Ok(tries == 3)
        };
        assert!(wait(Duration::from_secs(1), third).expect("no error"));
    }
}
