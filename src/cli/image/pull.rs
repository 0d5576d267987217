//! `berth image pull`

use std::process::ExitCode;

use clap::Args;

use super::progress::Display;
use crate::cli::{Session, credentials::Identity, error::Error, print_line};

/// Get an image from a registry and print its id.
#[derive(Debug, Args)]
pub(in crate::cli) struct Pull {
    #[command(flatten)]
    identity: Identity,
    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
    /// The image
    image: String,
}

impl Pull {
    pub(super) async fn perform(self, session: &mut Session) -> Result<ExitCode, Error> {
        let auth = self.identity.for_image(&self.image).await?;
        let display = Display::new(self.quiet, session.json);
        let id = super::pull(&mut session.engine, &self.image, auth, display).await?;
        let json = serde_json::json!({ "id": id });
        print_line(&if session.json { json.to_string() } else { id })?;
        Ok(ExitCode::SUCCESS)
    }
}
