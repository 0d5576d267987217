//! Artifacts: content that is no root file system but files, OCI image-spec "manifest.md", *Guidelines for Artifact
//! Usage*.
//!
//! A layer of an artifact is a file, named by an annotation, and its bytes are the file's. It is kept as a layer of its
//! own with this one file in it, so that an artifact is held, mounted and removed as an image is, and files that two
//! artifacts have under the same name are on the disk once. Layers without a name can only be archives; others are not
//! fetched, as there is nothing to call them by in a directory.

use std::{
    collections::BTreeSet,
    os::unix::ffi::OsStrExt as _,
    path::{Component, Path, PathBuf},
};

use super::{Error, config::Configuration, manifest::Manifest, registry::Descriptor};
use crate::types::Digest;

/// Annotations that name a layer's file, image-spec "annotations.md" and the model specification of the CNCF; the first
/// one that is there counts.
const NAMES: [&str; 2] = ["org.opencontainers.image.title", "org.cncf.model.filepath"];
/// Annotation by which oras says that a layer is a directory, packed; its name stands at the beginning of the paths in it.
const IS_DIRECTORY: &str = "io.deis.oras.content.unpack";
/// Media types of archives that are unpacked although nothing names them.
const ARCHIVES: [&str; 2] = ["application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs.diff."];
/// Longest path of a file, and longest name in it, path_resolution(7).
const MAX_PATH: usize = 4000;
const MAX_NAME: usize = 255;

/// What a layer's stream becomes on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Form {
    /// Whatever it is an archive of.
    Unpacked,
    /// One file with the stream's bytes, at this path from the layer's root.
    File(PathBuf),
}

impl Form {
    /// The digest that a layer with one file goes by: the file's name is part of what it is. `None` for archives, whose
    /// digest is known when they have been read.
    pub(super) fn layer(&self, stream: Digest) -> Option<Digest> {
        let Self::File(path) = self else { return None };
        Some(Digest::of(&[b"file\0", path.as_os_str().as_bytes(), b"\0", stream.to_string().as_bytes()].concat()))
    }
}

impl Manifest {
    /// The layers that are brought in, bottom first, and what becomes of them. `image` is the name in messages.
    ///
    /// # Errors
    /// When the files of an artifact cannot lie in one directory, or it has none.
    pub(super) fn contents(&self, image: &str) -> Result<Vec<(Descriptor, Form)>, Error> {
        let Some(artifact_type) = &self.artifact_type else {
            return Ok(self.layers.iter().map(|layer| (layer.clone(), Form::Unpacked)).collect());
        };
        let mut contents = Vec::new();
        let mut files = BTreeSet::new();
        for layer in &self.layers {
            let Some(form) = form(layer)? else { continue };
            if let Form::File(path) = &form
                && !files.insert(path.clone())
            {
                return Err(refused(layer, &format!("another one is called {path:?}, too")));
            }
            contents.push((layer.clone(), form));
        }
        let is_file = |path: &Path| path.ancestors().skip(1).any(|parent| files.contains(parent));
        if let Some((layer, Form::File(path))) =
            contents.iter().find(|(_, form)| matches!(form, Form::File(path) if is_file(path)))
        {
            return Err(refused(layer, &format!("{path:?} lies in another one, which is a file")));
        }
        if contents.is_empty() {
            let reason = format!("it is an artifact of type {artifact_type:?} none of whose layers has a name");
            return Err(Error::Unsupported { image: image.to_owned(), reason });
        }
        Ok(contents)
    }
}

impl Configuration {
    /// Stands in for that of an artifact with these layers, which says nothing about running.
    pub(super) fn of_artifact(layers: Vec<Digest>) -> Self {
        Self { image: super::ImageConfig::default(), diff_ids: layers, created: None }
    }
}

/// What becomes of an artifact's layer; `None` for those that nothing names.
fn form(layer: &Descriptor) -> Result<Option<Form>, Error> {
    let annotation = |key: &str| layer.annotations.get(key).map(String::as_str);
    let is_archive = ARCHIVES.iter().any(|beginning| layer.media_type.starts_with(beginning));
    let name = NAMES.into_iter().find_map(annotation).filter(|name| !name.is_empty());
    match name {
        Some(_) if annotation(IS_DIRECTORY) == Some("true") => Ok(Some(Form::Unpacked)),
        // Also if it is an archive: whoever gave it a name means the file. Older tools call any file an image's layer.
        Some(name) => file_path(name).map(|path| Some(Form::File(path))).map_err(|reason| refused(layer, reason)),
        None => Ok(is_archive.then_some(Form::Unpacked)),
    }
}

fn refused(layer: &Descriptor, reason: &str) -> Error {
    Error::Unusable { what: "layer of an artifact", digest: layer.digest, reason: reason.to_owned() }
}

/// The path that a name leads to in an empty directory, if it stays in it.
fn file_path(name: &str) -> Result<PathBuf, &'static str> {
    if name.len() > MAX_PATH || name.split('/').any(|part| part.len() > MAX_NAME) {
        return Err("its name is too long for a file's");
    }
    if name.contains('\0') || name.ends_with('/') {
        return Err("its name cannot be a file's");
    }
    let mut path = PathBuf::new();
    for component in Path::new(name).components() {
        match component {
            Component::Normal(part) => path.push(part),
            Component::CurDir => {}
            Component::RootDir | Component::ParentDir | Component::Prefix(_) => {
                return Err("its name is not a path from where the artifact is mounted");
            }
        }
    }
    if path.as_os_str().is_empty() { Err("its name cannot be a file's") } else { Ok(path) }
}

#[cfg(test)]
mod tests;
