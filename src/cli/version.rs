//! `berth version`

use std::process::ExitCode;

use super::{
    Session,
    error::{Answer as _, Error},
    json,
    table::Table,
};
use crate::wire::VersionRequest;

/// The version of this program.
const CLIENT: &str = env!("CARGO_PKG_VERSION");

/// Print the versions of client and engine.
pub(super) async fn perform(session: &mut Session) -> Result<ExitCode, Error> {
    let request = VersionRequest { version: String::new() };
    let engine = session.engine.runtime.version(request).await.during("ask for the version")?;
    if session.json {
        json::print(&serde_json::json!({ "client": { "version": CLIENT }, "engine": json::value(&engine) }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(&["", "NAME", "VERSION", "API"]);
    table.row(["client", "berth", CLIENT, ""].map(str::to_owned));
    table.row(["engine".to_owned(), engine.runtime_name, engine.runtime_version, engine.runtime_api_version]);
    table.print()?;
    Ok(ExitCode::SUCCESS)
}
