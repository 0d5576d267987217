//! `berth ps`

use std::process::ExitCode;

use clap::Args;

use super::{
    Session,
    error::{Answer as _, Error},
    json, lookup,
    pod_options::{parse_pair, selector},
    table::Table,
    units,
};
use crate::{
    types::Timestamp,
    wire::{Container, ContainerFilter, ContainerState, ContainerStateValue, ListContainersRequest},
};

/// List containers.
#[derive(Debug, Args)]
pub(super) struct Ps {
    /// Also those that do not run
    #[arg(short, long)]
    all: bool,
    /// Ids only
    #[arg(short, long)]
    quiet: bool,
    /// Containers of this pod only
    #[arg(long, value_name = "POD")]
    pod: Option<String>,
    /// Containers with this label only
    #[arg(short = 'l', long = "label", value_name = "KEY=VALUE", value_parser = parse_pair)]
    labels: Vec<(String, String)>,
}

impl Ps {
    pub(super) async fn perform(self, session: &mut Session) -> Result<ExitCode, Error> {
        let engine = &mut session.engine;
        let pod_sandbox_id = match self.pod {
            Some(given) => lookup::pod(engine, &given).await?.id,
            None => String::new(),
        };
        let running = ContainerStateValue { state: ContainerState::ContainerRunning.into() };
        let filter = ContainerFilter {
            state: (!self.all).then_some(running),
            pod_sandbox_id,
            label_selector: selector(self.labels),
            ..Default::default()
        };
        let request = ListContainersRequest { filter: Some(filter) };
        let mut containers = engine.runtime.list_containers(request).await.during("list containers")?.containers;
        containers.sort_by_key(|container| std::cmp::Reverse(container.created_at));

        if session.json {
            json::print(&json::array(&containers))?;
        } else if self.quiet {
            let ids: String = containers.iter().map(|container| format!("{}\n", container.id)).collect();
            super::print(ids.as_bytes())?;
        } else {
            table(&containers, session).await?.print()?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn table(containers: &[Container], session: &mut Session) -> Result<Table, Error> {
    let pods = lookup::pods(&mut session.engine).await?;
    let now = Timestamp::now();
    let mut table = Table::new(&["CONTAINER ID", "IMAGE", "CREATED", "STATE", "NAME", "POD"]);
    for container in containers {
        let image = container.image.as_ref();
        let image = image.map_or("", |image| match image.user_specified_image.as_str() {
            "" => &image.image,
            name => name,
        });
        table.row([
            lookup::short(&container.id),
            lookup::short_digest(image),
            units::ago(container.created_at, now),
            state(container.state()).to_owned(),
            lookup::container_name(container).to_owned(),
            lookup::name_of_pod(&pods, &container.pod_sandbox_id).to_owned(),
        ]);
    }
    Ok(table)
}

/// The state in a word.
fn state(state: ContainerState) -> &'static str {
    match state {
        ContainerState::ContainerCreated => "created",
        ContainerState::ContainerRunning => "running",
        ContainerState::ContainerExited => "exited",
        ContainerState::ContainerUnknown => "unknown",
    }
}
