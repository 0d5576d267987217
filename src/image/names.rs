//! Names of images in the store, given and taken.

use std::sync::Arc;

use super::{Error, Image, Store, images::Names, record::Record};
use crate::{task, types::Reference};

impl Store {
    /// Gives an image another name. One that another image has is taken from that.
    ///
    /// # Errors
    /// When there is no such image, or the new name is malformed or has no tag.
    pub async fn tag(self: &Arc<Self>, image: &str, name: &str) -> Result<(), Error> {
        let id = self.find(image)?.id;
        let tags = vec![tagged(name)?];
        let store = Arc::clone(self);
        task::blocking(move || store.images.add_names(id, Names { tags, digests: Vec::new() })).await
    }

    /// Takes a name, with a tag or with a digest, from the image that has it. The image stays, even without any name.
    ///
    /// # Errors
    /// When no image has the name.
    pub async fn untag(self: &Arc<Self>, name: &str) -> Result<(), Error> {
        let reference: Reference = name.parse()?;
        let image = self.find(name)?;
        let name = match reference.digest() {
            Some(digest) => reference.pinned(digest).to_string(),
            None => reference.to_string(),
        };
        // It may have been found by its id.
        if !image.tags.contains(&name) && !image.digests.contains(&name) {
            return Err(Error::NotFound(name));
        }
        let (store, id) = (Arc::clone(self), image.id);
        task::blocking(move || store.images.remove_name(id, &name)).await
    }

    /// Finds an image as [`Self::resolve`] does, or fails.
    pub(super) fn find(&self, name: &str) -> Result<Arc<Image>, Error> {
        self.resolve(name).ok_or_else(|| Error::NotFound(name.chars().take(300).collect()))
    }

    /// What is written down about an image.
    pub(super) fn record(&self, image: &Image) -> Result<Record, Error> {
        self.images.record(image.id).ok_or_else(|| Error::NotFound(image.id.to_string()))
    }
}

/// A name with a tag, in full.
fn tagged(name: &str) -> Result<String, Error> {
    let reference: Reference = name.parse()?;
    let tag = reference.tagged().filter(|_| reference.digest().is_none());
    tag.ok_or_else(|| Error::Contents("an image is given a name with a tag, not with a digest".to_owned()))
}
