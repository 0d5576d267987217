//! The directory that hooks find a container by.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, chown, fchown},
    path::Path,
};

use super::Hooks;
use crate::{
    runtime::plan::{ContainerPlan, container_spec},
    types::PodConfig,
};

impl Hooks {
    /// Makes the bundle: `config.json`, which describes the container as `plan` has it, and the directory on which its
    /// root will be mounted. One that is there is made anew. Blocking.
    ///
    /// # Errors
    /// What the file system says.
    pub fn make_bundle(&self, plan: &ContainerPlan, pod: &PodConfig, pod_dir: &Path) -> io::Result<()> {
        self.remove_bundle()?;
        // The container's environment is nobody else's business; but hooks in its user namespace are only root there.
        let owner = plan.user_namespace.as_ref().map(|maps| maps.root()).unzip();
        let parent = self.bundle.parent().unwrap_or(&self.bundle);
        DirBuilder::new().recursive(true).mode(0o711).create(parent)?;
        for directory in [&self.bundle, &self.root()] {
            DirBuilder::new().mode(0o700).create(directory)?;
            chown(directory, owner.0, owner.1)?;
        }
        let mut spec = container_spec(plan, pod, pod_dir);
        spec["root"]["path"] = self.root().to_string_lossy().into();
        let path = self.bundle.join("config.json");
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(spec.to_string().as_bytes())?;
        fchown(&file, owner.0, owner.1)
    }

    /// Whether there is a bundle: the container was begun to be started, and what comes last was not run yet.
    pub fn has_bundle(&self) -> bool {
        self.bundle.is_dir()
    }

    /// Removes the bundle, if there is one. Blocking.
    ///
    /// # Errors
    /// What the file system says.
    pub fn remove_bundle(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.bundle) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}
