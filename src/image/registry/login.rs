//! Checking credentials, Docker Registry v2 "API Version Check".

use http::{Method, StatusCode};

use super::{
    auth::Auth,
    client::{Access, Client},
    endpoint::Capability,
    error::Error,
    http::{Request, drain, refusal},
};
use crate::types::Reference;

impl Client {
    /// Asks the registry of an image whether it takes credentials.
    pub async fn check_login(&self, image: &Reference, auth: &Auth) -> Result<(), Error> {
        let mut repository = self.repository(image, Access::Login, Some(auth)).await?;
        // Credentials are those of the registry itself, whatever its mirrors take.
        repository.endpoints.retain(|endpoint| endpoint.upstream);
        let mut candidates = repository.candidates(Capability::Pull, "log in to")?;
        while let Some(endpoint) = candidates.next().await {
            let mut url = endpoint.base.clone();
            url.set_path(&format!("{}/", endpoint.base.path().trim_end_matches('/')));
            let failure = match repository.send(&endpoint, Request::new(Method::GET, url)).await {
                Ok(answer) if answer.response.status() == StatusCode::OK => {
                    drain(answer.response).await;
                    return Ok(());
                }
                Ok(answer) => refusal(answer.response).await,
                Err(failure) => failure,
            };
            candidates.failed(failure);
        }
        Err(candidates.into_error("log in to", image.domain().to_owned()))
    }
}
