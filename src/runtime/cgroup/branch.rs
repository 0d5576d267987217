//! A sub-group for one exec session.

use std::path::PathBuf;

use super::{Cgroup, Entrance, Error, kill, tree, validate_path};

/// A sub-group of a container's cgroup that only tracks processes: the container's limits hold for them.
#[derive(Debug, Clone)]
pub struct Branch {
    cgroup: Cgroup,
    name: String,
}

impl Branch {
    pub(super) fn create(cgroup: &Cgroup, name: &str) -> Result<Self, Error> {
        validate_path(&format!("/{name}"))?;
        let branch = Self { cgroup: cgroup.clone(), name: name.to_owned() };
        tree::create(&branch.directory())?;
        Ok(branch)
    }

    /// The way in, as [`Cgroup::entrance`].
    pub fn entrance(&self) -> Result<Entrance, Error> {
        self.cgroup.branch_entrance(Some(&self.name))
    }

    /// Processes in it; none if it is gone.
    pub fn processes(&self) -> Result<Vec<i32>, Error> {
        tree::processes(&self.directory())
    }

    /// Kills all its processes, as [`Cgroup::kill`].
    pub fn kill(&self) -> Result<(), Error> {
        kill::kill(&self.directory())
    }

    /// Removes it, as [`Cgroup::remove`]; removing the whole cgroup does it too.
    pub fn remove(&self) -> Result<(), Error> {
        tree::remove(&self.directory())
    }

    fn directory(&self) -> PathBuf {
        self.cgroup.tracking().join(&self.name)
    }
}
