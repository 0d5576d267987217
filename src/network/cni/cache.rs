//! What plugins have been asked to make, in files: without them, a daemon that was killed could not have it unmade.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{chain::Target, error::Error, network_list::NetworkList};
use crate::{network::lease::write_by_rename, types::Id};

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
        fs::create_dir_all(&dir).map_err(|source| failed("make", &dir, source))?;
        Ok(Self { dir })
    }

    /// A pod's record.
    ///
    /// # Errors
    /// When it is there but cannot be read.
    pub(super) fn get(&self, pod: &Id) -> Result<Option<Record>, Error> {
        let path = self.path(pod);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| failed("read", &path, error.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(failed("read", &path, source)),
        }
    }

    /// Writes a record down. Not to be lost in a crash of the machine is not asked for: leases of plugins are not either.
    ///
    /// # Errors
    /// When it cannot be written; an older one stays.
    pub(super) fn put(&self, record: &Record) -> Result<(), Error> {
        let path = self.path(&record.target.pod);
        write_by_rename(&path, record).map_err(|source| failed("write", &path, source))
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
