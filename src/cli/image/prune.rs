//! `berth image prune`

use std::process::ExitCode;

use clap::Args;

use crate::{
    berth_wire::PruneRequest,
    cli::{
        Session,
        error::{Answer as _, Error},
        json, print_line, units,
    },
};

/// Remove images that have no tag and that no container uses.
#[derive(Debug, Args)]
pub(in crate::cli) struct Prune {
    /// All images that no container uses, with tags too
    #[arg(short, long)]
    all: bool,
}

impl Prune {
    pub(super) async fn perform(self, session: &mut Session) -> Result<ExitCode, Error> {
        let request = PruneRequest { all: self.all };
        let pruned = session.engine.own.prune_images(request).await.during("prune images")?;
        if session.json {
            json::print(&json::value(&pruned))?;
            return Ok(ExitCode::SUCCESS);
        }
        for image in &pruned.images {
            print_line(format!("{} {}", image.id, image.names.join(" ")).trim_end())?;
        }
        print_line(&format!("{} images removed, {} free again", pruned.images.len(), units::bytes(pruned.reclaimed)))?;
        Ok(ExitCode::SUCCESS)
    }
}
