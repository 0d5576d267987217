//! `berth image`: a file a verb, and what other verbs do with images.

mod import;
mod inspect;
mod ls;
mod pull;
mod rm;

use std::process::ExitCode;

use clap::Subcommand;

use super::{
    Session,
    connection::Engine,
    error::{Answer as _, Error},
};
use crate::wire::{AuthConfig, Image, ImageSpec, ImageStatusRequest, ImageStatusResponse, PullImageRequest};

/// Verbs on images.
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// List images
    Ls(ls::Ls),
    /// Get an image from a registry
    Pull(pull::Pull),
    /// Take images out of an archive: an OCI layout or a docker archive
    Import(import::Import),
    /// Print all that is known about images, as JSON
    Inspect(inspect::Inspect),
    /// Remove images
    Rm(rm::Rm),
}

impl Verb {
    pub(super) async fn perform(self, session: &mut Session) -> Result<ExitCode, Error> {
        match self {
            Self::Ls(verb) => verb.perform(session).await,
            Self::Pull(verb) => verb.perform(session).await,
            Self::Import(verb) => verb.perform(session).await,
            Self::Inspect(verb) => verb.perform(session).await,
            Self::Rm(verb) => verb.perform(session).await,
        }
    }
}

/// An image by its name, digest or id.
fn spec(image: &str) -> ImageSpec {
    ImageSpec { image: image.to_owned(), user_specified_image: image.to_owned(), ..Default::default() }
}

async fn status(engine: &mut Engine, image: &str, verbose: bool) -> Result<ImageStatusResponse, Error> {
    let request = ImageStatusRequest { image: Some(spec(image)), verbose };
    engine.image.image_status(request).await.during(format!("look for image {image}"))
}

/// The image of that name, digest or id.
async fn find(engine: &mut Engine, image: &str) -> Result<Image, Error> {
    let found = status(engine, image, false).await?.image;
    found.ok_or_else(|| Error::NoSuch { kind: "image", given: image.to_owned() })
}

/// Whether the image is in the store.
pub(super) async fn is_here(engine: &mut Engine, image: &str) -> Result<bool, Error> {
    Ok(status(engine, image, false).await?.image.is_some())
}

/// Fails if the image is not in the store.
pub(super) async fn must_be_here(engine: &mut Engine, image: &str) -> Result<(), Error> {
    find(engine, image).await.map(drop)
}

/// Gets an image from its registry and returns the id by which the engine knows it.
pub(super) async fn pull(engine: &mut Engine, image: &str, auth: Option<AuthConfig>) -> Result<String, Error> {
    let request = PullImageRequest { image: Some(spec(image)), auth, sandbox_config: None };
    Ok(engine.image.pull_image(request).await.during(format!("pull image {image}"))?.image_ref)
}
