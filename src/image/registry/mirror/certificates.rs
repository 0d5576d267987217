//! Docker's way to configure a registry: certificates in a directory, told apart by the ends of their names.

use std::path::{Path, PathBuf};

use super::{HostConfig, invalid, read_identity, read_pem};
use crate::image::registry::error::Error;

/// Reads `*.crt` as authorities, and the first `*.cert` with the `*.key` of the same name as what we show.
pub(super) async fn load(directory: &Path) -> Result<HostConfig, Error> {
    let mut host = HostConfig { server: true, ..HostConfig::default() };
    let names = list(directory).await?;
    let has = |path: &PathBuf| names.contains(path);
    for path in &names {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("crt") => host.authorities.push(read_pem(path.clone()).await?),
            Some("cert") => {
                let key = path.with_extension("key");
                if !has(&key) {
                    return Err(invalid(path, format!("there is no key {} for it", key.display())));
                }
                if host.identity.is_none() {
                    host.identity = Some(read_identity(path.clone(), Some(key)).await?);
                }
            }
            Some("key") if !has(&path.with_extension("cert")) => {
                return Err(invalid(path, "there is no certificate (.cert) for this key".to_owned()));
            }
            _ => {}
        }
    }
    Ok(host)
}

/// Files of a directory by name.
async fn list(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let unreadable = |source| Error::ReadHosts { path: directory.to_owned(), source };
    let mut entries = tokio::fs::read_dir(directory).await.map_err(unreadable)?;
    let mut names = Vec::new();
    while let Some(entry) = entries.next_entry().await.map_err(unreadable)? {
        names.push(entry.path());
    }
    names.sort();
    Ok(names)
}
