//! `berth logs`

use std::{path::Path, process::ExitCode};

use clap::Args;

use super::{
    Session,
    error::Error,
    log_file::{LogFile, View, container_status},
    lookup,
    units::{parse_duration, parse_moment},
};
use crate::types::Timestamp;

/// Print what a container wrote: its standard output to ours, its standard error to ours.
#[derive(Debug, Args)]
pub(super) struct Logs {
    /// Go on until the container ends
    #[arg(short, long)]
    follow: bool,
    /// Only so many last lines
    #[arg(short = 'n', long, value_name = "LINES")]
    tail: Option<usize>,
    /// Only what was written since a moment (RFC 3339) or in the last so long (like 10m)
    #[arg(long, value_name = "TIME", value_parser = parse_since)]
    since: Option<Timestamp>,
    /// Show the time of each line
    #[arg(short, long)]
    timestamps: bool,
    /// The container
    container: String,
}

impl Logs {
    pub(super) async fn perform(self, session: &mut Session) -> Result<ExitCode, Error> {
        let engine = &mut session.engine;
        let container = lookup::container(engine, &self.container).await?;
        let status = container_status(engine, &container.id).await?;
        if status.log_path.is_empty() {
            return Err(Error::NoLog { given: self.container });
        }
        let view = View { tail: self.tail, since: self.since, timestamps: self.timestamps };
        let mut log = LogFile::open(Path::new(&status.log_path), view)?;
        if self.follow {
            log.follow(engine, &container.id).await?;
        } else {
            log.copy()?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Reads a moment, or a duration before now.
fn parse_since(text: &str) -> Result<Timestamp, String> {
    if let Some(moment) = parse_moment(text) {
        return Ok(moment);
    }
    let before = parse_duration(text).map_err(|_| "must be a moment in RFC 3339, or a duration like 10m".to_owned())?;
    let before = i64::try_from(before.as_nanos()).unwrap_or(i64::MAX);
    Ok(Timestamp(Timestamp::now().0.saturating_sub(before)))
}
