//! ReopenContainerLog.

use crate::engine::{Engine, Error};

impl Engine {
    /// Makes a running container's log go on in a new file at the same path; the file exists when this returns.
    ///
    /// # Errors
    /// When it is not running, or the file cannot be made; the old file goes on then.
    pub async fn reopen_log(&self, id: &str) -> Result<(), Error> {
        let container = self.find_container(id)?;
        container.require_running()?;
        container
            .pod
            .monitor()?
            .reopen_log(&container.id)
            .await
            .map_err(|source| Error::monitor("reopen the log of", format!("container {}", container.id), source))
    }
}
