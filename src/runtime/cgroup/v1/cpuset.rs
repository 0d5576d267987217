//! A new v1 cpuset is empty, and no process can join an empty one: it starts with its parent's CPUs and memory nodes.

use std::path::Path;

use crate::runtime::cgroup::{Error, file};

/// Fills what is empty in `directory` from its parent, and that from its own parent.
pub(super) fn inherit(directory: &Path) -> Result<(), Error> {
    for name in ["cpuset.cpus", "cpuset.mems"] {
        filled(directory, name)?;
    }
    Ok(())
}

/// The file's value in `directory`, which is filled if need be. The hierarchy's root is never empty.
fn filled(directory: &Path, name: &str) -> Result<String, Error> {
    let path = directory.join(name);
    let value = file::read(&path)?.trim().to_owned();
    let Some(parent) = directory.parent() else { return Ok(value) };
    if !value.is_empty() {
        return Ok(value);
    }
    let inherited = filled(parent, name)?;
    file::write(&path, &inherited)?;
    Ok(inherited)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn empty_levels_are_filled_from_the_nearest_that_is_not() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let leaf = dir.path().join("pod/container");
        fs::create_dir_all(&leaf).expect("directories");
        for (level, cpus) in [(dir.path(), "0-3\n"), (&dir.path().join("pod"), "\n"), (&leaf, "\n")] {
            fs::write(level.join("cpuset.cpus"), cpus).expect("file");
            fs::write(level.join("cpuset.mems"), "0\n").expect("file");
        }
        inherit(&leaf).expect("inherit");
        for level in ["pod", "pod/container"] {
            assert_eq!(fs::read_to_string(dir.path().join(level).join("cpuset.cpus")).expect("file"), "0-3");
        }
    }
}
