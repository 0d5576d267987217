//! `berth attach`

use std::process::ExitCode;

use clap::Args;

use super::{
    Session,
    connection::Engine,
    error::{Answer as _, Error},
    exec::exit_code,
    log_file::container_status,
    lookup,
    remote::{Interaction, Remote},
};
use crate::wire::{AttachRequest, ContainerState};

/// Watch what a running container writes, and type to it; the exit code is the container's.
#[derive(Debug, Args)]
pub(super) struct Attach {
    #[command(flatten)]
    interaction: Interaction,
    /// The container
    container: String,
}

impl Attach {
    pub(super) async fn perform(self, session: &mut Session) -> Result<ExitCode, Error> {
        let engine = &mut session.engine;
        let container = lookup::container(engine, &self.container).await?;
        open(engine, &container.id, self.interaction).await?.run().await?;
        let status = container_status(engine, &container.id).await?;
        Ok(match status.state() {
            ContainerState::ContainerExited => exit_code(status.exit_code),
            _ => ExitCode::SUCCESS,
        })
    }
}

/// Opens a session with a container's own streams.
pub(super) async fn open(engine: &mut Engine, id: &str, interaction: Interaction) -> Result<Remote, Error> {
    let request = AttachRequest {
        container_id: id.to_owned(),
        stdin: interaction.interactive,
        tty: interaction.tty,
        stdout: true,
        // A terminal has one output.
        stderr: !interaction.tty,
    };
    let answer = engine.runtime.attach(request).await.during(format!("attach to container {id}"))?;
    Remote::open(&answer.url, interaction).await
}
