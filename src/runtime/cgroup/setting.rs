//! Values for cgroup files: planned as plain data by each version, written by one loop.

use std::{borrow::Cow, path::PathBuf};

use super::{Error, file};

/// One value for one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    /// File name, which begins with its controller's: `memory.max`.
    pub(super) file: Cow<'static, str>,
    /// What to write.
    pub(super) value: String,
    /// It says no more than the kernel's default does, so a host without the file is as good.
    pub(super) optional: bool,
}

impl Setting {
    /// A value that must be set.
    pub(super) fn new(file: impl Into<Cow<'static, str>>, value: impl ToString) -> Self {
        Self { file: file.into(), value: value.to_string(), optional: false }
    }

    /// Says that nothing is lost without the file, if `harmless`.
    pub(super) fn optional_if(self, harmless: bool) -> Self {
        Self { optional: harmless, ..self }
    }

    fn controller(&self) -> &str {
        self.file.split('.').next().unwrap_or_default()
    }

    fn write(&self, directory: &impl Fn(&str) -> Option<PathBuf>) -> Result<(), Error> {
        let missing = || match self.optional {
            true => Ok(()),
            false => Err(Error::Unsupported { file: self.file.to_string(), value: self.value.clone() }),
        };
        let Some(directory) = directory(self.controller()) else { return missing() };
        match file::write(&directory.join(&*self.file), &self.value) {
            Err(Error::Write { source, .. }) if source.raw_os_error() == Some(libc::ENOENT) => missing(),
            result => result,
        }
    }
}

/// Writes all settings; `directory` gives the cgroup's directory for a controller.
///
/// Two files can depend on each other (memory must not exceed memory plus swap, a quota's share of its period must not
/// exceed the parent's), and which goes first depends on what is in force. So a value that is refused as invalid
/// is tried once more when all others are written.
pub(super) fn apply(settings: &[Setting], directory: impl Fn(&str) -> Option<PathBuf>) -> Result<(), Error> {
    let mut refused = Vec::new();
    for setting in settings {
        match setting.write(&directory) {
            Err(error) if is_invalid(&error) => refused.push((setting, error)),
            result => result?,
        }
    }
    for (setting, first) in refused {
        setting.write(&directory).map_err(|_| first)?;
    }
    Ok(())
}

fn is_invalid(error: &Error) -> bool {
    matches!(error, Error::Write { source, .. } if source.raw_os_error() == Some(libc::EINVAL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_matters_fails_without_its_controller() {
        let nowhere = |_: &str| None;
        let harmless = Setting::new("hugetlb.2MB.max", 0).optional_if(true);
        apply(std::slice::from_ref(&harmless), nowhere).expect("harmless");
        let wanted = Setting::new("hugetlb.2MB.max", 2_097_152);
        assert!(matches!(apply(&[wanted], nowhere), Err(Error::Unsupported { file, .. }) if file == "hugetlb.2MB.max"));
    }

    #[test]
    fn values_go_to_the_directory_of_their_controller() {
        let dir = tempfile::tempdir().expect("temporary directory");
        for controller in ["cpu", "cpuset"] {
            std::fs::create_dir(dir.path().join(controller)).expect("directory");
        }
        for file in ["cpu/cpu.shares", "cpuset/cpuset.cpus"] {
            std::fs::write(dir.path().join(file), "").expect("file");
        }
        let settings = [Setting::new("cpu.shares", 2), Setting::new("cpuset.cpus", "0-1")];
        apply(&settings, |controller| Some(dir.path().join(controller))).expect("both are there");
        assert_eq!(std::fs::read_to_string(dir.path().join("cpu/cpu.shares")).expect("file"), "2");
        assert_eq!(std::fs::read_to_string(dir.path().join("cpuset/cpuset.cpus")).expect("file"), "0-1");
    }
}
