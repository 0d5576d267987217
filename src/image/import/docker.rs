//! Docker archives, as `docker save` wrote them before it wrote OCI layouts and as many builders still do.

use serde::{Deserialize, Serialize};

use super::{
    contents::{ArchivedLayer, BLOBS, Contents},
    refused,
};
use crate::{
    image::{Error, assemble::Parts, images::Names, manifest::Document, unpack::Compression},
    types::{Digest, Reference},
};

/// The file that lists an archive's images.
pub(super) const LIST: &str = "manifest.json";

/// One image of the list.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Vec<String>,
}

/// The images of an archive, without their layers.
pub(super) fn images(contents: &Contents) -> Result<Vec<Parts>, Error> {
    entries(contents)?.iter().map(|entry| image(contents, entry)).collect()
}

/// The names that the list gives to the image with this configuration.
pub(super) fn names_of(contents: &Contents, config: Digest) -> Result<Vec<Reference>, Error> {
    let path = format!("{BLOBS}{}", config.hex());
    let entries = if contents.document(LIST).is_some() { entries(contents)? } else { Vec::new() };
    entries
        .iter()
        .filter(|entry| entry.config == path)
        .map(names)
        .collect::<Result<Vec<_>, _>>()
        .map(|all| all.concat())
}

fn entries(contents: &Contents) -> Result<Vec<Entry>, Error> {
    let bytes = contents.document(LIST).unwrap_or_default();
    serde_json::from_slice(bytes).map_err(|source| Error::Document { what: LIST, digest: Digest::of(bytes), source })
}

fn names(entry: &Entry) -> Result<Vec<Reference>, Error> {
    entry.repo_tags.iter().flatten().map(|name| Ok(name.parse()?)).collect()
}

fn image(contents: &Contents, entry: &Entry) -> Result<Parts, Error> {
    let config = contents.document(&entry.config);
    let config_bytes = config.ok_or_else(|| refused(format!("it lacks {:?}", entry.config)))?.to_vec();
    let layer = |path: &String| contents.layer(path).ok_or_else(|| refused(format!("it lacks the layer {path:?}")));
    let layers = entry.layers.iter().map(layer).collect::<Result<Vec<_>, _>>()?;
    let manifest_bytes = manifest(&config_bytes, &layers)?;
    let Document::Manifest(manifest) =
        Document::parse(&entry.config, Digest::of(&manifest_bytes), "", &manifest_bytes)?
    else {
        return Err(refused("its images are indexes"));
    };
    let tags = names(entry)?.iter().filter_map(Reference::tagged).collect();
    let names = Names { tags, digests: Vec::new() };
    Ok(Parts {
        manifest_bytes,
        index_bytes: None,
        manifest,
        config_bytes,
        layers: Vec::new(),
        names,
        signatures: Vec::new(),
    })
}

/// The manifest that the image would have in a registry; these archives hold none.
fn manifest(config: &[u8], layers: &[&ArchivedLayer]) -> Result<Vec<u8>, Error> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Written {
        media_type: &'static str,
        digest: Digest,
        size: u64,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Manifest {
        schema_version: u32,
        media_type: &'static str,
        config: Written,
        layers: Vec<Written>,
    }
    let layer = |layer: &&ArchivedLayer| Written {
        media_type: match layer.compression {
            Compression::None => "application/vnd.oci.image.layer.v1.tar",
            Compression::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Compression::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        },
        digest: layer.digest,
        size: layer.size,
    };
    let config = Written {
        media_type: "application/vnd.oci.image.config.v1+json",
        digest: Digest::of(config),
        size: config.len() as u64,
    };
    let manifest = Manifest {
        schema_version: 2,
        media_type: "application/vnd.oci.image.manifest.v1+json",
        config,
        layers: layers.iter().map(layer).collect(),
    };
    serde_json::to_vec(&manifest).map_err(|error| refused(error.to_string()))
}
