//! `berth pod ls`

use std::process::ExitCode;

use clap::Args;

use crate::{
    cli::{
        Session,
        error::{Answer as _, Error},
        json, lookup,
        pod_options::{parse_pair, selector},
        print,
        table::Table,
        units,
    },
    types::Timestamp,
    wire::{ListPodSandboxRequest, PodSandbox, PodSandboxFilter, PodSandboxState, PodSandboxStateValue},
};

/// List pods.
#[derive(Debug, Args)]
pub(in crate::cli) struct Ls {
    /// Ready pods only
    #[arg(long)]
    ready: bool,
    /// Ids only
    #[arg(short, long)]
    quiet: bool,
    /// Pods with this label only
    #[arg(short = 'l', long = "label", value_name = "KEY=VALUE", value_parser = parse_pair)]
    labels: Vec<(String, String)>,
}

impl Ls {
    pub(super) async fn perform(self, session: &mut Session) -> Result<ExitCode, Error> {
        let ready = PodSandboxStateValue { state: PodSandboxState::SandboxReady.into() };
        let filter = PodSandboxFilter {
            state: self.ready.then_some(ready),
            label_selector: selector(self.labels),
            ..Default::default()
        };
        let request = ListPodSandboxRequest { filter: Some(filter) };
        let mut pods = session.engine.runtime.list_pod_sandbox(request).await.during("list pods")?.items;
        pods.sort_by_key(|pod| std::cmp::Reverse(pod.created_at));

        if session.json {
            json::print(&json::array(&pods))?;
        } else if self.quiet {
            let ids: String = pods.iter().map(|pod| format!("{}\n", pod.id)).collect();
            print(ids.as_bytes())?;
        } else {
            table(&pods, session).await?.print()?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn table(pods: &[PodSandbox], session: &mut Session) -> Result<Table, Error> {
    let now = Timestamp::now();
    let mut table = Table::new(&["POD ID", "CREATED", "STATE", "NAME", "NAMESPACE", "ADDRESS"]);
    for pod in pods {
        // A pod can go while the list is shown.
        let status = super::status(&mut session.engine, &pod.id).await.unwrap_or_default();
        table.row([
            lookup::short(&pod.id),
            units::ago(pod.created_at, now),
            if pod.state() == PodSandboxState::SandboxReady { "ready" } else { "stopped" }.to_owned(),
            lookup::pod_name(pod).to_owned(),
            pod.metadata.as_ref().map_or("", |metadata| &metadata.namespace).to_owned(),
            status.network.map_or_else(String::new, |network| network.ip),
        ]);
    }
    Ok(table)
}
