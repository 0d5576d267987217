//! `berth image push`

use std::process::ExitCode;

use clap::Args;

use super::progress::Display;
use crate::{
    berth_wire::PushRequest,
    cli::{Session, credentials::Identity, error::Error, print_line},
};

/// Put an image into a registry and print its name there with its digest.
///
/// Digests stay as they are. Layers whose compressed form was not kept (see `image.keep_blobs` in the engine's settings)
/// are fetched again from the registry that the image came from, with what is stored for that registry.
#[derive(Debug, Args)]
pub(in crate::cli) struct Push {
    #[command(flatten)]
    identity: Identity,
    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
    /// Push the images for all platforms, not only the one for this host
    #[arg(long)]
    all_platforms: bool,
    /// The image
    image: String,
    /// Its name at the registry, if it is another one
    destination: Option<String>,
}

impl Push {
    pub(super) async fn perform(self, session: &mut Session) -> Result<ExitCode, Error> {
        let destination = self.destination.as_ref().unwrap_or(&self.image);
        let operation = format!("push image {destination}");
        let source = super::find(&mut session.engine, &self.image).await?;
        let request = PushRequest {
            sources: self.identity.file().of_sources(&source.repo_digests).await,
            auth: self.identity.for_image(destination).await?,
            image: self.image,
            destination: self.destination.unwrap_or_default(),
            all_platforms: self.all_platforms,
        };
        let events = session.engine.own.push_image(request).await;
        let pushed = Display::new(self.quiet, session.json).show(operation, events).await?;
        if session.json {
            print_line(&serde_json::json!({ "name": pushed.name, "digest": pushed.digest }).to_string())?;
        } else {
            print_line(&format!("{} {}", pushed.name, pushed.digest))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
