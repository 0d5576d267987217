//! Removing images that nothing uses.

use std::{collections::HashSet, sync::Arc};

use super::{Error, Image, Store};
use crate::{task, types::Digest};

/// What a prune has removed.
#[derive(Debug, Clone, Default)]
pub struct Pruned {
    /// The images.
    pub images: Vec<Arc<Image>>,
    /// Bytes on disk that they took, but for those that others need too.
    pub reclaimed: u64,
}

impl Store {
    /// Removes images that no container uses and that are not pinned: those without a tag, or with `all` the others,
    /// too.
    ///
    /// # Errors
    /// When a record cannot be removed; images before it are gone then.
    pub async fn prune(self: &Arc<Self>, all: bool) -> Result<Pruned, Error> {
        let store = Arc::clone(self);
        task::blocking(move || {
            let before = store.images_usage().used_bytes;
            let used: HashSet<Digest> = store.snapshots.images().into_iter().collect();
            let is_unused =
                |image: &Arc<Image>| (all || image.tags.is_empty()) && !image.pinned && !used.contains(&image.id);
            let images: Vec<_> = store.images.list().into_iter().filter(is_unused).collect();
            images.iter().try_for_each(|image| store.images.remove(image.id))?;
            let reclaimed = before.saturating_sub(store.images_usage().used_bytes);
            Ok(Pruned { images, reclaimed })
        })
        .await
    }
}
