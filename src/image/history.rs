//! How an image came to be, as its configuration tells.

use std::sync::Arc;

use serde::Deserialize;

use super::{Error, Store, config::parse_time};
use crate::{task, types::Timestamp};

/// A step in the making of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// When it was made, if that is told.
    pub created: Option<Timestamp>,
    /// The command that made it.
    pub created_by: String,
    /// What the maker remarks.
    pub comment: String,
    /// Bytes that its layer takes on disk; 0 if it has none.
    pub size: u64,
}

#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    history: Option<Vec<RawStep>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawStep {
    created: Option<String>,
    created_by: Option<String>,
    comment: Option<String>,
    empty_layer: bool,
}

impl Store {
    /// The steps in which an image was made, the last one first. Images whose configuration does not tell them have a
    /// step for each layer.
    ///
    /// # Errors
    /// When there is no such image or its configuration cannot be read.
    pub async fn history(self: &Arc<Self>, image: &str) -> Result<Vec<Step>, Error> {
        let image = self.find(image)?;
        let (store, id) = (Arc::clone(self), image.id);
        let configuration = task::blocking(move || store.blobs.read(id)).await?;
        let malformed = |source| Error::Document { what: "image configuration", digest: id, source };
        let raw: Raw = serde_json::from_slice(&configuration).map_err(malformed)?;
        let sizes = self.record(&image)?.layers.into_iter().map(|layer| self.size_of(layer));
        let steps = raw.history.unwrap_or_default();
        Ok(steps_with_sizes(steps, sizes.collect()))
    }

    fn size_of(&self, layer: crate::types::Digest) -> u64 {
        self.layers.shelf().meta(layer).map_or(0, |layer| layer.tally.bytes)
    }
}

fn steps_with_sizes(steps: Vec<RawStep>, sizes: Vec<u64>) -> Vec<Step> {
    let mut sizes = sizes.into_iter();
    let mut told: Vec<Step> = steps
        .into_iter()
        .map(|step| Step {
            created: step.created.as_deref().and_then(parse_time),
            created_by: step.created_by.unwrap_or_default(),
            comment: step.comment.unwrap_or_default(),
            size: if step.empty_layer { 0 } else { sizes.next().unwrap_or_default() },
        })
        .collect();
    told.extend(sizes.map(|size| Step { created: None, created_by: String::new(), comment: String::new(), size }));
    told.reverse();
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_layer_is_that_of_its_step() {
        let step =
            |by: &str, empty_layer| RawStep { created_by: Some(by.to_owned()), empty_layer, ..RawStep::default() };
        let steps = vec![step("ADD", false), step("ENV", true), step("RUN", false)];
        let told = steps_with_sizes(steps, vec![10, 20, 30]);
        let shown: Vec<_> = told.iter().map(|step| (step.created_by.as_str(), step.size)).collect();
        assert_eq!(shown, [("", 30), ("RUN", 20), ("ENV", 0), ("ADD", 10)]);
    }
}
