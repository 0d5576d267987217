//! One repository of images: the hosts that serve it, and who we are to them.

use std::sync::Arc;

use http::{StatusCode, header};

use super::{
    auth::{Credentials, Purpose, Tokens},
    candidates::{Candidates, Patience},
    endpoint::{Capability, Endpoint},
    error::{Error, Failure},
    http::{Answer, Http, Request, drain},
};
use crate::types::Reference;

/// What an operation needs to send requests about one repository.
#[derive(Debug, Clone)]
pub(super) struct Repository {
    pub(super) http: Arc<Http>,
    pub(super) tokens: Arc<Tokens>,
    pub(super) patience: Patience,
    /// The image that is asked for; its domain and path name the repository.
    pub(super) reference: Reference,
    /// Mirrors first, the registry last.
    pub(super) endpoints: Vec<Arc<Endpoint>>,
    pub(super) credentials: Credentials,
}

impl Repository {
    /// The hosts that may be asked for something.
    pub(super) fn candidates(&self, capability: Capability, operation: &'static str) -> Result<Candidates, Error> {
        let able = self.endpoints.iter().filter(|endpoint| endpoint.can(capability));
        let able: Vec<_> = able.cloned().collect();
        if able.is_empty() {
            return Err(Error::NoHost { operation, object: self.reference.to_string() });
        }
        Ok(Candidates::new(self.patience, able))
    }

    /// Sends a request, authorized if the host asks for it. Any status but a first 401 is a success here.
    pub(super) async fn send(&self, endpoint: &Endpoint, mut request: Request) -> Result<Answer, Failure> {
        let path = self.reference.repository();
        let credential = self.credentials.for_endpoint(endpoint, self.reference.domain(), path).await;
        let scope = format!("repository:{path}:pull");
        let purpose = Purpose { endpoint, scope: &scope, credential: &credential };
        request.private = endpoint.headers.clone();
        let known = self.tokens.known(purpose).await;
        if let Some(header) = &known {
            request.private.insert(header::AUTHORIZATION, header.clone());
        }
        let answer = self.http.send_to(endpoint, &request).await?;
        if answer.response.status() != StatusCode::UNAUTHORIZED || !answer.from_origin {
            return Ok(answer);
        }
        let (url, headers) = (answer.response.url().clone(), answer.response.headers().clone());
        drain(answer.response).await;
        let header = self.tokens.authorize(&self.http, purpose, &url, &headers, known.as_ref()).await?;
        request.private.insert(header::AUTHORIZATION, header);
        self.http.send_to(endpoint, &request).await
    }
}
