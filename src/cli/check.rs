//! `berth check`

use std::process::ExitCode;

use clap::Args;

use super::{error::Error, json, table::Table};
use crate::daemon::{self, Finding, Flags, Level};

/// Say what this host lacks for the engine, and what to do; exit code 1 when the engine would not work.
#[derive(Debug, Args)]
pub(super) struct Check {
    #[command(flatten)]
    settings: Flags,
}

impl Check {
    /// Works without an engine.
    pub(super) fn perform(self, as_json: bool) -> Result<ExitCode, Error> {
        let findings = daemon::examine(&self.settings).map_err(Error::Settings)?;
        match as_json {
            true => json::print(&serde_json::json!(findings))?,
            false => super::print(table(&findings).text().as_bytes())?,
        }
        let works = findings.iter().all(|finding| finding.level < Level::Error);
        Ok(if works { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn table(findings: &[Finding]) -> Table {
    let mut table = Table::new(&["", "CHECKED", "FOUND"]);
    for Finding { level, topic, found, advice } in findings {
        let level = match level {
            Level::Ok => "ok",
            Level::Warning => "warning",
            Level::Error => "ERROR",
        };
        table.row([level.to_owned(), (*topic).to_owned(), found.clone()]);
        if !advice.is_empty() {
            table.row([String::new(), String::new(), format!("→ {advice}")]);
        }
    }
    table
}
