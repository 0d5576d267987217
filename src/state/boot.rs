//! Whether what the run directory says is still true.

use std::{fs, io, path::Path};

use super::Error;

/// What became of the machine since the run directory was last used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boot {
    /// The same boot: processes, namespaces and mounts may still be there.
    Same,
    /// Another boot, or the run directory is new: nothing that ran is left.
    New,
}

/// Kernel's random id of this boot, `random(4)`.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Marks `run` as used in this boot and says whether it already was.
///
/// # Errors
/// When the boot id cannot be read or the mark cannot be written.
pub fn claim_run_dir(run: &Path) -> Result<Boot, Error> {
    let current = fs::read_to_string(BOOT_ID).map_err(|source| file("read", Path::new(BOOT_ID), source))?;
    let mark = run.join("boot_id");
    match fs::read_to_string(&mark) {
        Ok(seen) if seen == current => return Ok(Boot::Same),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(file("read", &mark, source)),
    }
    fs::write(&mark, current).map_err(|source| file("write", &mark, source))?;
    Ok(Boot::New)
}

fn file(operation: &'static str, path: &Path, source: io::Error) -> Error {
    Error::File { operation, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_directory_of_another_boot_is_new() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(claim_run_dir(dir.path()).unwrap(), Boot::New);
        assert_eq!(claim_run_dir(dir.path()).unwrap(), Boot::Same);
        fs::write(dir.path().join("boot_id"), "another\n").unwrap();
        assert_eq!(claim_run_dir(dir.path()).unwrap(), Boot::New);
        assert_eq!(claim_run_dir(dir.path()).unwrap(), Boot::Same);
    }
}
