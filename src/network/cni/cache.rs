//! What plugins have been asked to make, in files: without them, a daemon that was killed could not have it unmade.

use std::{
    fs::{self, DirBuilder, File, Permissions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{chain::Target, error::Error, network_list::NetworkList};
use crate::types::Id;

/// What was asked for, word by word: DEL has to be told the same as ADD, whatever the configuration says by then.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    /// The pod.
    pub(super) target: Target,
    /// The network and its plugins.
    pub(super) network: NetworkList,
    /// What the last plugin answered; `None` until all of them have.
    pub(super) result: Option<Value>,
}

/// The records of all pods, a file each.
#[derive(Debug)]
pub(super) struct Cache {
    dir: PathBuf,
}

impl Cache {
    /// Opens the directory, which is made if it is missing.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) fn open(dir: PathBuf) -> Result<Self, Error> {
        // Configurations may hold secrets, and annotations are nobody else's business. One that is there is closed, too.
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)
            .and_then(|()| fs::set_permissions(&dir, Permissions::from_mode(0o700)))
            .map_err(|source| failed("make", &dir, source))?;
        Ok(Self { dir })
    }

    /// A pod's record.
    ///
    /// # Errors
    /// When it is there but cannot be read.
    pub(super) fn get(&self, pod: &Id) -> Result<Option<Record>, Error> {
        let path = self.path(pod);
        match fs::read(&path) {
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(record) => Ok(Some(record)),
                Err(error) => {
                    self.set_aside(&path, &error)?;
                    Ok(None)
                }
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(failed("read", &path, source)),
        }
    }

    /// Puts a record away that cannot be understood: it must not keep its pod from being removed.
    fn set_aside(&self, path: &Path, error: &serde_json::Error) -> Result<(), Error> {
        let aside = path.with_extension("broken");
        tracing::error!(path = %aside.display(), %error, "a pod's CNI record is damaged; its plugins cannot be told of its end");
        fs::rename(path, &aside).map_err(|source| failed("put aside", path, source))
    }

    /// Writes a record down, so that it is whole and there even after a loss of power.
    ///
    /// # Errors
    /// When it cannot be written; an older one stays.
    pub(super) fn put(&self, record: &Record) -> Result<(), Error> {
        let path = self.path(&record.target.pod);
        self.write(&path, record).map_err(|source| failed("write", &path, source))
    }

    fn write(&self, path: &Path, record: &Record) -> io::Result<()> {
        let temporary = path.with_extension("new");
        let mut file = File::create(&temporary)?;
        file.write_all(&serde_json::to_vec(record)?)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(&self.dir)?.sync_all()
    }

    /// Removes a pod's record; no error if there is none.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub(super) fn remove(&self, pod: &Id) -> Result<(), Error> {
        let path = self.path(pod);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(failed("remove", &path, source)),
            _ => Ok(()),
        }
    }

    /// The pods that have records.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub(super) fn pods(&self) -> Result<Vec<Id>, Error> {
        let entries = fs::read_dir(&self.dir).map_err(|source| failed("read", &self.dir, source))?;
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        Ok(names.filter_map(|name| name.strip_suffix(".json")?.parse().ok()).collect())
    }

    fn path(&self, pod: &Id) -> PathBuf {
        self.dir.join(format!("{pod}.json"))
    }
}

fn failed(operation: &'static str, path: &Path, source: io::Error) -> Error {
    Error::Record { operation, path: path.to_owned(), source }
}
