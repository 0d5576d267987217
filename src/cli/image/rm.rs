//! `berth image rm`

use std::process::ExitCode;

use clap::Args;

use crate::{
    cli::{
        Session, each,
        error::{Answer as _, Error},
    },
    wire::RemoveImageRequest,
};

/// Remove images with all their names.
#[derive(Debug, Args)]
pub(in crate::cli) struct Rm {
    /// The images
    #[arg(required = true)]
    images: Vec<String>,
}

impl Rm {
    pub(super) async fn perform(self, session: &mut Session) -> Result<ExitCode, Error> {
        each(&self.images, session, async |session, given| {
            // The CRI is content when there is nothing to remove; a person who misspelt a name is not.
            let image = super::find(&mut session.engine, given).await?;
            let request = RemoveImageRequest { image: Some(super::spec(&image.id)) };
            session.engine.image.remove_image(request).await.during(format!("remove image {given}"))?;
            Ok(())
        })
        .await
    }
}
