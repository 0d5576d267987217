//! All devices that the host's specification files describe.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    Edits, Error, name,
    spec::{Device, Spec},
};

/// The specifications of a moment.
#[derive(Debug)]
pub(super) struct Registry<'a> {
    dirs: &'a [PathBuf],
    files: Vec<File>,
    /// Files that cannot be used, and why.
    unusable: Vec<String>,
}

/// A usable file.
#[derive(Debug)]
struct File {
    path: PathBuf,
    /// Number of its directory: the higher one wins.
    rank: usize,
    spec: Spec,
}

impl<'a> Registry<'a> {
    /// Reads all `.json` and `.yaml` files. A broken one is in the way only of those who ask for its devices.
    pub(super) fn read(dirs: &'a [PathBuf]) -> Self {
        let mut registry = Self { dirs, files: Vec::new(), unusable: Vec::new() };
        for (rank, dir) in dirs.iter().enumerate() {
            for path in spec_files(dir) {
                match Spec::read(&path) {
                    Ok(spec) => registry.files.push(File { path, rank, spec }),
                    Err(problem) => registry.unusable.push(format!("{}: {problem}", path.display())),
                }
            }
        }
        registry
    }

    /// What the named devices add to a container: what their files say for all of their devices, once each, and what
    /// they say for the device.
    ///
    /// # Errors
    /// See [`super::edits`].
    pub(super) fn edits(&self, names: &[String]) -> Result<Edits, Error> {
        let mut edits = Edits::default();
        let mut seen: Vec<&Path> = Vec::new();
        for name in names {
            let (file, device) = self.find(name)?;
            if !seen.contains(&file.path.as_path()) {
                seen.push(&file.path);
                edits.add(name, &file.spec.container_edits)?;
            }
            edits.add(name, &device.container_edits)?;
        }
        Ok(edits)
    }

    fn find(&self, name: &str) -> Result<(&File, &Device), Error> {
        let (kind, device) = name::split(name).ok_or_else(|| Error::Name(name.to_owned()))?;
        let described = self.files.iter().filter(|file| file.spec.kind == kind).filter_map(|file| {
            let device = file.spec.devices.iter().find(|candidate| candidate.name == device)?;
            Some((file, device))
        });
        let mut best: Vec<(&File, &Device)> = Vec::new();
        for found in described {
            // Files come in the order of their directories.
            best.retain(|(file, _)| file.rank == found.0.rank);
            best.push(found);
        }
        match best.as_slice() {
            [] => Err(self.unknown(name)),
            [found] => Ok(*found),
            [first, second, ..] => Err(Error::Conflict {
                device: name.to_owned(),
                first: first.0.path.clone(),
                second: second.0.path.clone(),
            }),
        }
    }

    fn unknown(&self, name: &str) -> Error {
        let dirs: Vec<_> = self.dirs.iter().map(|dir| dir.display().to_string()).collect();
        let unusable = match self.unusable.as_slice() {
            [] => String::new(),
            files => format!("; not usable: {}", files.join("; ")),
        };
        Error::Unknown { device: name.to_owned(), dirs: dirs.join(", "), unusable }
    }
}

/// The specification files of a directory, by name; a directory that cannot be read has none.
fn spec_files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = entries
        .filter(|path| path.extension().is_some_and(|extension| extension == "json" || extension == "yaml"))
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    files
}
