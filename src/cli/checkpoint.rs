//! `berth checkpoint`

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, ValueHint};

use super::{
    Session,
    error::{Answer as _, Error},
    lookup, print_line,
    units::parse_duration,
};
use crate::wire::CheckpointContainerRequest;

/// Write a running container into an archive, from which it can be created again; it goes on running.
///
/// The archive has its processes with their memory, and the files that it has changed. The engine's host needs `criu`. A
/// file that is there is replaced.
#[derive(Debug, Args)]
pub(super) struct Checkpoint {
    /// How long to wait for the archive
    #[arg(short, long, value_name = "TIME", default_value = "2m", value_parser = parse_duration)]
    timeout: Duration,
    /// The container
    container: String,
    /// The archive, on the engine's host
    #[arg(value_hint = ValueHint::FilePath)]
    file: PathBuf,
}

impl Checkpoint {
    pub(super) async fn perform(self, session: &mut Session) -> Result<ExitCode, Error> {
        let Self { timeout, container, file } = self;
        // The engine is in another directory than we are.
        let path = std::path::absolute(&file).map_err(|source| Error::Write { path: file, source })?;
        let request = CheckpointContainerRequest {
            container_id: lookup::container(&mut session.engine, &container).await?.id,
            location: path.to_string_lossy().into_owned(),
            timeout: i64::try_from(timeout.as_secs_f64().ceil() as u64).unwrap_or(i64::MAX),
        };
        let written = session.engine.runtime.checkpoint_container(request).await;
        written.during(format!("checkpoint container {container}"))?;
        print_line(&path.to_string_lossy())?;
        Ok(ExitCode::SUCCESS)
    }
}
