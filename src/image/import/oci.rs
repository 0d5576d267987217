//! OCI image layouts, image-spec "image-layout.md"; what `docker save` writes today is one too.

use super::{contents::Contents, docker, refused};
use crate::{
    image::{
        Error,
        assemble::Parts,
        images::Names,
        manifest::{Choice, Document, Manifest, choose, runs_here},
    },
    types::{Digest, Reference},
};

/// The file that names a layout's images.
pub(super) const INDEX: &str = "index.json";
/// An image's name as containerd and docker write it.
const CONTAINERD_NAME: &str = "io.containerd.image.name";
/// An image's name, or only its tag.
const OCI_NAME: &str = "org.opencontainers.image.ref.name";

/// The images of a layout, without their layers. Those for other platforms are left out.
pub(super) fn images(contents: &Contents) -> Result<Vec<Parts>, Error> {
    let bytes = contents.document(INDEX).unwrap_or_default();
    let Document::Index(choices) = Document::parse(INDEX, Digest::of(bytes), "", bytes)? else {
        return Err(refused("its index.json is no index"));
    };
    if !choices.is_empty() && !choices.iter().any(runs_here) {
        // Says for which platform there should be one.
        choose("of the archive", &choices)?;
    }
    choices.iter().filter(|choice| runs_here(choice)).map(|choice| image(contents, choice)).collect()
}

fn image(contents: &Contents, choice: &Choice) -> Result<Parts, Error> {
    let digest = choice.descriptor.digest;
    let Found { index_bytes, manifest_bytes, manifest } = manifest(contents, digest)?;
    if let Some(artifact_type) = &manifest.artifact_type {
        // Its files are told from documents and layers only by the manifest, which may come after them.
        return Err(refused(format!("it holds an artifact of type {artifact_type:?}; artifacts can only be pulled")));
    }
    let config_bytes = contents.blob(manifest.config.digest)?.to_vec();
    let mut tags = name(choice)?.into_iter().collect::<Vec<_>>();
    if tags.is_empty() {
        tags = docker::names_of(contents, manifest.config.digest)?;
    }
    let mut digests: Vec<String> = tags.iter().map(|tag| tag.pinned(digest).to_string()).collect();
    digests.dedup();
    let tags = tags.iter().filter_map(Reference::tagged).collect();
    let names = Names { tags, digests };
    Ok(Parts { manifest_bytes, index_bytes, manifest, config_bytes, layers: Vec::new(), names, signatures: Vec::new() })
}

/// What a document of the layout leads to.
struct Found {
    index_bytes: Option<Vec<u8>>,
    manifest_bytes: Vec<u8>,
    manifest: Manifest,
}

/// Goes from a document of the layout to the manifest for this host, by one index at most.
fn manifest(contents: &Contents, digest: Digest) -> Result<Found, Error> {
    let bytes = contents.blob(digest)?;
    let choices = match Document::parse("of the archive", digest, "", bytes)? {
        Document::Manifest(manifest) => {
            return Ok(Found { index_bytes: None, manifest_bytes: bytes.to_vec(), manifest });
        }
        Document::Index(choices) => choices,
    };
    let chosen = choose("of the archive", &choices)?.descriptor.digest;
    let manifest_bytes = contents.blob(chosen)?;
    match Document::parse("of the archive", chosen, "", manifest_bytes)? {
        Document::Manifest(manifest) => {
            Ok(Found { index_bytes: Some(bytes.to_vec()), manifest_bytes: manifest_bytes.to_vec(), manifest })
        }
        Document::Index(_) => Err(refused("its indexes are nested too deeply")),
    }
}

/// The name that an image is given by its index, if it is a whole one.
fn name(choice: &Choice) -> Result<Option<Reference>, Error> {
    let annotation = |key| choice.descriptor.annotations.get(key).map(String::as_str);
    let is_whole = |name: &&str| name.contains(['/', ':']);
    let name = annotation(CONTAINERD_NAME).or_else(|| annotation(OCI_NAME).filter(is_whole));
    Ok(name.map(str::parse).transpose()?)
}
