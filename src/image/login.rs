//! Logging in: whether a registry takes credentials.

use super::{Auth, Error, Store};
use crate::types::{Reference, reference::InvalidReference};

impl Store {
    /// Asks a registry, given by host and port, whether it takes credentials.
    ///
    /// # Errors
    /// When the host is malformed, cannot be reached, or does not take them.
    pub async fn check_login(&self, registry: &str, auth: &Auth) -> Result<(), Error> {
        // The client knows registries by the names of images in them.
        let image: Reference = format!("{registry}/login").parse()?;
        // A word without a dot or a port is no host in a name: the credentials would go to the default registry.
        if image.repository() == format!("{registry}/login") {
            return Err(InvalidReference::Domain(registry.to_owned()).into());
        }
        Ok(self.client.check_login(&image, auth).await?)
    }
}
