//! Exit records: how a container ended, on disk, for the daemon that comes after the monitor's death.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::types::{ExitStatus, Id};

/// `<pod dir>/containers/<id>/exit.json`.
pub(super) fn path(pod_dir: &Path, container: &Id) -> PathBuf {
    pod_dir.join("containers").join(container.as_str()).join("exit.json")
}

/// Reads a record; `None` when there is none.
pub(super) fn read(path: &Path) -> io::Result<Option<ExitStatus>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes a record: it is there whole or not at all. Without a sync, because the run directory dies with the machine.
pub(super) fn write(path: &Path, status: &ExitStatus) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    let unfinished = path.with_extension("json.new");
    std::fs::write(&unfinished, serde_json::to_vec(status)?)?;
    std::fs::rename(&unfinished, path)
}

/// Removes a record; fine when there is none.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Timestamp;

    #[test]
    fn a_record_is_read_as_it_was_written_until_it_is_removed() {
        let dir = tempfile::tempdir().expect("dir");
        let path = path(dir.path(), &Id::from_bytes([7; 32]));
        assert_eq!(read(&path).expect("read"), None);
        let status = ExitStatus::ended(137, true, Timestamp(12));
        write(&path, &status).expect("write");
        assert_eq!(read(&path).expect("read"), Some(status));
        remove(&path).expect("remove");
        remove(&path).expect("remove again");
        assert_eq!(read(&path).expect("read"), None);
        std::fs::write(&path, b"{\"co").expect("spoil");
        read(&path).expect_err("half a record is an error, not an exit");
    }
}
