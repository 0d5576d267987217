//! `berth image`: a file a verb, and what other verbs do with images.

mod check;
mod history;
mod import;
mod inspect;
mod ls;
mod names;
mod progress;
mod prune;
mod pull;
mod push;
mod rm;
mod save;

use std::{
    io::{self, IsTerminal as _},
    process::ExitCode,
};

use clap::Subcommand;

use self::progress::Display;
use super::{
    Session,
    connection::Engine,
    credentials::AuthFile,
    error::{Answer as _, Error},
};
use crate::{
    berth_wire::{PullRequest, RegistryAuth},
    wire::{Image, ImageSpec, ImageStatusRequest, ImageStatusResponse},
};

/// Verbs on images.
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// List images
    Ls(ls::Ls),
    /// Get an image from a registry
    Pull(pull::Pull),
    /// Put an image into a registry
    Push(push::Push),
    /// Take images out of an archive: an OCI layout or a docker archive
    #[command(visible_alias = "load")]
    Import(import::Import),
    /// Write images into an archive
    Save(save::Save),
    /// Give an image more names
    Tag(names::Tag),
    /// Take names from images
    Untag(names::Untag),
    /// Print how an image was made
    History(history::History),
    /// Print all that is known about images, as JSON
    Inspect(inspect::Inspect),
    /// Remove images
    Rm(rm::Rm),
    /// Remove images that nothing uses
    Prune(prune::Prune),
    /// Check that all images are whole
    Check(check::Check),
}

impl Verb {
    pub(super) async fn perform(self, session: &mut Session) -> Result<ExitCode, Error> {
        match self {
            Self::Ls(verb) => verb.perform(session).await,
            Self::Pull(verb) => verb.perform(session).await,
            Self::Push(verb) => verb.perform(session).await,
            Self::Import(verb) => verb.perform(session).await,
            Self::Save(verb) => verb.perform(session).await,
            Self::Tag(verb) => verb.perform(session).await,
            Self::Untag(verb) => verb.perform(session).await,
            Self::History(verb) => verb.perform(session).await,
            Self::Inspect(verb) => verb.perform(session).await,
            Self::Rm(verb) => verb.perform(session).await,
            Self::Prune(verb) => verb.perform(session).await,
            Self::Check(verb) => verb.perform(session).await,
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

/// Gets an image from its registry, shown if there is a terminal to show it on.
pub(super) async fn pull_if_watched(engine: &mut Engine, image: &str) -> Result<(), Error> {
    let auth = AuthFile::from_environment().find(image).await;
    let display = Display::new(!io::stderr().is_terminal(), false);
    pull(engine, image, auth, display).await.map(drop)
}

/// Gets an image from its registry and returns the id by which the engine knows it.
async fn pull(engine: &mut Engine, image: &str, auth: Option<RegistryAuth>, display: Display) -> Result<String, Error> {
    let request = PullRequest { image: image.to_owned(), auth };
    Ok(display.show(format!("pull image {image}"), engine.own.pull_image(request).await).await?.id)
}
