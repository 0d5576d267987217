//! `berth image inspect`

use std::process::ExitCode;

use clap::Args;

use crate::cli::{Session, error::Error, json};

/// Print all that is known about images, as JSON.
#[derive(Debug, Args)]
pub(in crate::cli) struct Inspect {
    /// The images
    #[arg(required = true)]
    images: Vec<String>,
}

impl Inspect {
    pub(super) async fn perform(self, session: &mut Session) -> Result<ExitCode, Error> {
        let mut values = Vec::new();
        for given in &self.images {
            let answer = super::status(&mut session.engine, given, true).await?;
            let image = answer.image.ok_or_else(|| Error::NoSuch { kind: "image", given: given.clone() })?;
            values.push(json::verbose(&image, &answer.info));
        }
        json::print(&values.into())?;
        Ok(ExitCode::SUCCESS)
    }
}
