//! One repository of images: the hosts that serve it, and who we are to them.

use std::{sync::Arc, time::Duration};

use http::{StatusCode, header};

use super::{
    auth::{Credentials, Purpose, Tokens},
    candidates::{Candidates, Patience},
    descriptor::Descriptor,
    distrust::Givers,
    endpoint::{Capability, Endpoint, authority},
    error::{Error, Failure},
    http::{Answer, Http, Request, drain},
};
use crate::types::Reference;

/// Addresses of one blob that are tried.
const MAX_FOREIGN: usize = 4;

/// What an operation needs to send requests about one repository.
#[derive(Debug, Clone)]
pub(super) struct Repository {
    pub(super) http: Arc<Http>,
    pub(super) tokens: Arc<Tokens>,
    pub(super) patience: Patience,
    pub(super) connect_timeout: Duration,
    /// The image that is asked for; its domain and path name the repository.
    pub(super) reference: Reference,
    /// Mirrors first, the registry last.
    pub(super) endpoints: Vec<Arc<Endpoint>>,
    pub(super) credentials: Credentials,
    /// What tokens are asked for, as `repository:<path>:pull`.
    pub(super) scope: String,
    /// Who gave bytes of a blob.
    pub(super) givers: Givers,
}

impl Repository {
    /// The hosts that may be asked for something.
    pub(super) fn candidates(&self, capability: Capability, operation: &'static str) -> Result<Candidates, Error> {
        self.candidates_with(capability, operation, Vec::new())
    }

    /// The hosts that may be asked for a blob: also those that its descriptor names, if no other one has it.
    pub(super) fn blob_candidates(&self, blob: &Descriptor) -> Result<Candidates, Error> {
        let foreign = blob.urls.iter().take(MAX_FOREIGN);
        let foreign = foreign.filter_map(|url| Endpoint::foreign(url, self.connect_timeout)).map(Arc::new);
        self.candidates_with(Capability::Pull, "fetch", foreign.collect())
    }

    fn candidates_with(
        &self,
        capability: Capability,
        operation: &'static str,
        others: Vec<Arc<Endpoint>>,
    ) -> Result<Candidates, Error> {
        let able = self.endpoints.iter().filter(|endpoint| endpoint.can(capability)).cloned();
        let candidates: Vec<_> = able.chain(others).collect();
        if candidates.is_empty() {
            return Err(Error::NoHost { operation, object: self.reference.to_string() });
        }
        Ok(Candidates::new(self.patience, candidates))
    }

    /// Sends a request, authorized if the host asks for it. Any status but a first 401 is a success here.
    ///
    /// A request whose address a host has given us, and which leads elsewhere, goes out without credentials.
    pub(super) async fn send(&self, endpoint: &Endpoint, mut request: Request) -> Result<Answer, Failure> {
        if authority(&request.url) != endpoint.host() {
            return self.http.send(&endpoint.transport.elsewhere(), &request).await;
        }
        let path = self.reference.repository();
        let credential = self.credentials.for_endpoint(endpoint, self.reference.domain(), path).await;
        let purpose = Purpose { endpoint, scope: &self.scope, credential: &credential };
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
