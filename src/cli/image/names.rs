//! `berth image tag` and `berth image untag`

use std::process::ExitCode;

use clap::Args;

use crate::{
    berth_wire::{TagRequest, UntagRequest},
    cli::{
        Session, each,
        error::{Answer as _, Error},
    },
};

/// Give an image more names.
#[derive(Debug, Args)]
pub(in crate::cli) struct Tag {
    /// The image
    image: String,
    /// Names that it gets, with tags
    #[arg(required = true)]
    names: Vec<String>,
}

/// Take names from the images that have them. The images stay, even without any name.
#[derive(Debug, Args)]
pub(in crate::cli) struct Untag {
    /// The names
    #[arg(required = true)]
    names: Vec<String>,
}

impl Tag {
    pub(super) async fn perform(self, session: &mut Session) -> Result<ExitCode, Error> {
        each(&self.names, session, async |session, name| {
            let request = TagRequest { image: self.image.clone(), name: name.to_owned() };
            session.engine.own.tag_image(request).await.during(format!("tag image {} as {name}", self.image))?;
            Ok(())
        })
        .await
    }
}

impl Untag {
    pub(super) async fn perform(self, session: &mut Session) -> Result<ExitCode, Error> {
        each(&self.names, session, async |session, name| {
            let request = UntagRequest { name: name.to_owned() };
            session.engine.own.untag_image(request).await.during(format!("untag image {name}"))?;
            Ok(())
        })
        .await
    }
}
