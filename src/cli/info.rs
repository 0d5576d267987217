//! `berth info`

use std::process::ExitCode;

use super::{
    Session,
    error::{Answer as _, Error},
    json, lookup,
    table::Table,
    units,
};
use crate::wire::{
    ContainerState, FilesystemUsage, ImageFsInfoRequest, ListImagesRequest, StatusRequest, VersionRequest,
};

/// Print the engine's state.
pub(super) async fn perform(session: &mut Session) -> Result<ExitCode, Error> {
    let engine = &mut session.engine;
    let version = VersionRequest { version: String::new() };
    let version = engine.runtime.version(version).await.during("ask for the version")?;
    let status = engine.runtime.status(StatusRequest { verbose: true }).await.during("ask for the engine's status")?;
    let disk = engine.image.image_fs_info(ImageFsInfoRequest {}).await.during("ask for the space used")?;
    if session.json {
        json::print(&serde_json::json!({
            "version": json::value(&version),
            "status": json::value(&status),
            "info": json::verbose(&status.status.unwrap_or_default(), &status.info)["info"],
            "disk": json::value(&disk),
        }))?;
        return Ok(ExitCode::SUCCESS);
    }

    let images = engine.image.list_images(ListImagesRequest::default()).await.during("list images")?.images;
    let containers = lookup::containers(engine).await?;
    let running = containers.iter().filter(|c| c.state() == ContainerState::ContainerRunning).count();
    let mut rows = vec![
        ("engine".to_owned(), format!("{} {}", version.runtime_name, version.runtime_version)),
        ("pods".to_owned(), lookup::pods(engine).await?.len().to_string()),
        ("containers".to_owned(), format!("{} ({running} running)", containers.len())),
        ("images".to_owned(), images.len().to_string()),
        ("space of images".to_owned(), space(&disk.image_filesystems)),
        ("space of containers".to_owned(), space(&disk.container_filesystems)),
    ];
    for condition in status.status.unwrap_or_default().conditions {
        let answer = if condition.status { "yes".to_owned() } else { format!("no: {}", condition.message) };
        rows.push((condition.r#type, answer));
    }
    let mut table = Table::new(&[]);
    for (key, value) in rows {
        table.row([format!("{key}:"), value]);
    }
    super::print(table.text().trim_start().as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn space(filesystems: &[FilesystemUsage]) -> String {
    let one = |usage: &FilesystemUsage| {
        let used = usage.used_bytes.as_ref().map_or(0, |bytes| bytes.value);
        let place = usage.fs_id.as_ref().map_or("", |id| &id.mountpoint);
        format!("{} in {place}", units::bytes(used))
    };
    filesystems.iter().map(one).collect::<Vec<_>>().join(", ")
}
