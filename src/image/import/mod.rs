//! Importing: images out of an OCI layout or a docker archive, read once from front to back.
//!
//! The documents that say what belongs together may stand at the end of an archive. So each layer is unpacked as it
//! comes by, the documents are kept in memory, and at the end it is sorted out; what nothing refers to is discarded.

mod contents;
mod docker;
mod oci;

use std::{io::Read, sync::Arc};

use super::{
    Error, Image, Store,
    assemble::{Parts, assemble},
    images::Names,
    receive::LayerPart,
};
use crate::types::Reference;
use contents::Contents;

/// Streams of an archive's layers are kept whatever the settings say: no registry could give them again.
const KEEP_STREAMS: bool = true;

/// Takes all images of an archive in, or none. `name` replaces the names in the archive. Blocking.
pub(super) fn import(
    store: &Store,
    archive: impl Read + Send,
    name: Option<&Reference>,
) -> Result<Vec<Arc<Image>>, Error> {
    let contents = Contents::read(store, archive)?;
    let mut images = if contents.document(oci::INDEX).is_some() {
        oci::images(&contents)?
    } else if contents.document(docker::LIST).is_some() {
        docker::images(&contents)?
    } else {
        return Err(refused(format!("it holds neither {} nor {}", oci::INDEX, docker::LIST)));
    };
    match (name, &mut images[..]) {
        (_, []) => return Err(refused("it holds no image")),
        (None, _) => {}
        (Some(name), [image]) => rename(image, name)?,
        (Some(_), many) => return Err(refused(format!("it holds {} images, and one name was given", many.len()))),
    }
    // What no image takes is let go with this.
    let _layers = contents.commit_layers(store)?;
    for image in &mut images {
        let part = |layer: &super::registry::Descriptor| {
            LayerPart::present(store, layer.digest, KEEP_STREAMS).ok_or(Error::Missing(layer.digest))
        };
        image.layers = image.manifest.layers.iter().map(part).collect::<Result<_, _>>()?;
    }
    images.into_iter().map(|image| assemble(store, image)).collect()
}

/// Gives an image this name instead of those that it has.
fn rename(image: &mut Parts, name: &Reference) -> Result<(), Error> {
    let Some(tag) = name.tagged().filter(|_| name.digest().is_none()) else {
        return Err(refused("an image is given a name with a tag, not with a digest"));
    };
    // Digests of manifests stay true under another name.
    let digest = |named: &String| named.rsplit_once('@').map(|(_, digest)| format!("{}@{digest}", name.name()));
    let digests = image.names.digests.iter().filter_map(digest).collect();
    image.names = Names { tags: vec![tag], digests };
    Ok(())
}

fn refused(reason: impl Into<String>) -> Error {
    Error::Contents(reason.into())
}

#[cfg(test)]
mod tests;
