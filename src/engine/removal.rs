//! Cgroups that have to go when nobody is left to remove them: their monitor is dead, or could not.
//!
//! A cgroup can be removed once the last of its processes has been reaped, and who reaps orphans of a dead monitor, and
//! when, is up to the host's init. Nobody is kept waiting for that. As the pod may be gone from the records by then, what is
//! still to be removed is noted in the run directory, `cgroups/<digest of the path>`: the next daemon goes on with it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::Engine;
use crate::{
    error::chain,
    runtime::cgroup::Cgroup,
    task::{blocking, retry},
    types::Digest,
};

impl Engine {
    /// Kills what is in a cgroup and removes it. Never fails: what takes longer than a moment is logged and goes on in the
    /// background, also of the next daemon.
    pub(super) async fn remove_cgroup(&self, path: &str) {
        let cgroup = self.parts.cgroups.open(path);
        if removed(cgroup.clone()).await {
            return;
        }
        let note = self.removal_notes().join(name_of_note(path));
        if let Err(error) = write(&note, path) {
            tracing::warn!(cgroup = path, %error, "the next daemon will not know that a cgroup has to go");
        }
        remove_in_background(cgroup, note);
    }

    /// Goes on with what the last daemon could not remove.
    pub(super) fn resume_removals(&self) {
        // No directory: nothing was ever noted.
        let Ok(notes) = fs::read_dir(self.removal_notes()) else { return };
        for note in notes.flatten().map(|entry| entry.path()) {
            match fs::read_to_string(&note) {
                // Of a note that was not written whole, the path could be that of a parent.
                Ok(path) if note.file_name().is_some_and(|name| *name == *name_of_note(&path)) => {
                    remove_in_background(self.parts.cgroups.open(&path), note);
                }
                Ok(_) => tracing::warn!(note = %note.display(), "a note is broken and is left out"),
                Err(error) => tracing::warn!(note = %note.display(), %error, "a note cannot be read"),
            }
        }
    }

    fn removal_notes(&self) -> PathBuf {
        self.config.run.join("cgroups")
    }
}

fn remove_in_background(cgroup: Cgroup, note: PathBuf) {
    retry(move || {
        let (cgroup, note) = (cgroup.clone(), note.clone());
        async move {
            let is_gone = removed(cgroup).await;
            if is_gone && let Err(error) = fs::remove_file(&note) {
                tracing::debug!(note = %note.display(), %error, "a note is left");
            }
            is_gone
        }
    });
}

fn name_of_note(path: &str) -> String {
    Digest::of(path.as_bytes()).to_string()
}

fn write(note: &Path, path: &str) -> io::Result<()> {
    if let Some(dir) = note.parent() {
        fs::create_dir_all(dir)?;
    }
    fs::write(note, path)
}

async fn removed(cgroup: Cgroup) -> bool {
    let path = cgroup.path().to_owned();
    match blocking(move || cgroup.kill().and_then(|()| cgroup.remove())).await {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(cgroup = %path.display(), error = chain(&error), "a cgroup is still there");
            false
        }
    }
}
