//! `berth stop`

use std::{process::ExitCode, time::Duration};

use clap::Args;

use super::{
    Session, each,
    error::{Answer as _, Error},
    lookup,
    units::parse_duration,
};
use crate::wire::StopContainerRequest;

/// Stop containers: ask them with their stop signal, and kill what still runs after the timeout.
#[derive(Debug, Args)]
pub(super) struct Stop {
    /// How long to wait before killing
    #[arg(short, long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    timeout: Duration,
    /// The containers
    #[arg(required = true)]
    containers: Vec<String>,
}

impl Stop {
    pub(super) async fn perform(self, session: &mut Session) -> Result<ExitCode, Error> {
        let timeout = i64::try_from(self.timeout.as_secs_f64().ceil() as u64).unwrap_or(i64::MAX);
        each(&self.containers, session, async |session, given| {
            let container_id = lookup::container(&mut session.engine, given).await?.id;
            let request = StopContainerRequest { container_id, timeout };
            session.engine.runtime.stop_container(request).await.during(format!("stop container {given}"))?;
            Ok(())
        })
        .await
    }
}
