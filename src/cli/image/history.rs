//! `berth image history`

use std::process::ExitCode;

use clap::Args;

use crate::{
    berth_wire::HistoryRequest,
    cli::{
        Session,
        error::{Answer as _, Error},
        json,
        table::Table,
        units,
    },
    types::Timestamp,
};

/// Characters of a command that are shown.
const WIDTH: usize = 60;

/// Print how an image was made, the last step first.
#[derive(Debug, Args)]
pub(in crate::cli) struct History {
    /// Show commands in full
    #[arg(long)]
    no_trunc: bool,
    /// The image
    image: String,
}

impl History {
    pub(super) async fn perform(self, session: &mut Session) -> Result<ExitCode, Error> {
        let request = HistoryRequest { image: self.image.clone() };
        let answer = session.engine.own.image_history(request).await;
        let steps = answer.during(format!("tell the history of image {}", self.image))?.steps;
        if session.json {
            json::print(&json::array(&steps))?;
            return Ok(ExitCode::SUCCESS);
        }
        let mut table = Table::new(&["CREATED", "CREATED BY", "SIZE", "COMMENT"]);
        let now = Timestamp::now();
        for step in steps {
            let is_long = !self.no_trunc && step.created_by.chars().count() > WIDTH;
            let command = match is_long {
                true => step.created_by.chars().take(WIDTH - 1).chain(['…']).collect(),
                false => step.created_by,
            };
            table.row([units::ago(step.created, now), command, units::bytes(step.size), step.comment]);
        }
        table.print()?;
        Ok(ExitCode::SUCCESS)
    }
}
