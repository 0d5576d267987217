//! `berth pod run`

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;

use crate::{
    cli::{
        Session,
        error::Error,
        json,
        pod_options::{LogRoot, PodOptions, parse_pair},
        print_line,
    },
    wire::PodSandboxConfig,
};

/// Make a pod and print its id.
#[derive(Debug, Args)]
pub(in crate::cli) struct Run {
    /// Name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The pod's configuration, a JSON file in crictl's form; flags are laid over it. `-` is standard input
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Runtime handler
    #[arg(long, value_name = "NAME", default_value = "")]
    runtime: String,
    /// Label
    #[arg(short = 'l', long = "label", value_name = "KEY=VALUE", value_parser = parse_pair)]
    labels: Vec<(String, String)>,
    #[command(flatten)]
    options: PodOptions,
    #[command(flatten)]
    logs: LogRoot,
}

impl Run {
    pub(super) async fn perform(self, session: &mut Session) -> Result<ExitCode, Error> {
        let mut config = match &self.config {
            Some(path) => read(path)?,
            None => PodSandboxConfig::default(),
        };
        self.options.apply(self.name, &self.logs, &mut config)?;
        config.labels.extend(self.labels);
        let id = super::start(&mut session.engine, &config, &self.runtime).await?;
        if session.json {
            json::print(&serde_json::json!({ "id": id }))?;
        } else {
            print_line(&id)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn read(path: &Path) -> Result<PodSandboxConfig, Error> {
    let mut text = Vec::new();
    let read = if path == Path::new("-") {
        io::stdin().lock().read_to_end(&mut text).map(drop)
    } else {
        fs::read(path).map(|content| text = content)
    };
    read.map_err(|source| Error::Read { path: path.to_owned(), source })?;
    json::parse(&text).map_err(|source| Error::Config { path: path.to_owned(), expected: "pod configuration", source })
}
