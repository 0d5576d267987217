//! Authorization of requests: Basic, and bearer tokens by the Docker Registry v2 "Token Authentication Specification".

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderValue, Method, header};
use reqwest::Url;
use serde::Deserialize;

use super::{
    Credential,
    challenge::{Challenge, challenges},
    header,
};
use crate::{
    image::registry::{
        endpoint::{Endpoint, authority},
        error::Failure,
        http::{Http, Request, refusal},
        transport::Transport,
    },
    types::Digest,
};

/// Lifetime of a token that says nothing about it.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);
/// How long before its end a token is not used any more.
const MARGIN: Duration = Duration::from_secs(5);
/// Longest time that we trust a token or a way to authorize.
const MAX_LIFETIME: Duration = Duration::from_secs(3600);
/// Largest answer of a token server.
const MAX_ANSWER: usize = 256 << 10;
/// Number of kept authorizations above which outdated ones are looked for.
const MAX_KEPT: usize = 256;
/// How we introduce ourselves to token servers.
const CLIENT_ID: &str = "berth";

/// Whom an authorization is for.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    endpoint: String,
    scope: String,
    credential: Digest,
}

/// A header that a host takes, until it expires.
struct Grant {
    header: HeaderValue,
    expires: Instant,
}

/// One authorization; its lock is held while it is being got, so that parallel requests get it once.
type Slot = Arc<tokio::sync::Mutex<Option<Grant>>>;

/// Authorizations that hosts have taken or token servers have given.
#[derive(Default)]
pub(in crate::image::registry) struct Tokens {
    slots: Mutex<HashMap<Key, Slot>>,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

/// What a request is to be authorized for.
#[derive(Debug, Clone, Copy)]
pub(in crate::image::registry) struct Purpose<'a> {
    /// The host.
    pub(in crate::image::registry) endpoint: &'a Endpoint,
    /// The access, as `repository:<path>:pull`.
    pub(in crate::image::registry) scope: &'a str,
    /// Who asks.
    pub(in crate::image::registry) credential: &'a Credential,
}

impl Tokens {
    /// The header to try first, if there is one.
    pub(in crate::image::registry) async fn known(&self, purpose: Purpose<'_>) -> Option<HeaderValue> {
        if let Credential::RegistryToken(token) = purpose.credential {
            return header("Bearer", token);
        }
        let slot = self.slot(purpose);
        let grant = slot.lock().await;
        grant.as_ref().filter(|grant| grant.expires > Instant::now()).map(|grant| grant.header.clone())
    }

    /// Gets a header for a host that has refused a request as unauthorized. `rejected` is the header it had, and
    /// `url` the address that answered.
    pub(in crate::image::registry) async fn authorize(
        &self,
        http: &Http,
        purpose: Purpose<'_>,
        url: &Url,
        answer: &HeaderMap,
        rejected: Option<&HeaderValue>,
    ) -> Result<HeaderValue, Failure> {
        if matches!(purpose.credential, Credential::RegistryToken(_)) {
            return Err(Failure::Credentials("it does not take the registry token"));
        }
        let slot = self.slot(purpose);
        let mut grant = slot.lock().await;
        if let Some(grant) = &*grant
            && Some(&grant.header) != rejected
            && grant.expires > Instant::now()
        {
            return Ok(grant.header.clone());
        }
        *grant = None;
        let new = get(http, purpose, url, &challenges(answer), rejected).await?;
        Ok(grant.insert(new).header.clone())
    }

    fn slot(&self, purpose: Purpose<'_>) -> Slot {
        let key = Key {
            endpoint: purpose.endpoint.base.to_string(),
            scope: purpose.scope.to_owned(),
            credential: purpose.credential.fingerprint(),
        };
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() > MAX_KEPT {
            let now = Instant::now();
            slots.retain(|_, slot| match slot.try_lock() {
                Ok(grant) => grant.as_ref().is_some_and(|grant| grant.expires > now),
                Err(_) => true,
            });
        }
        slots.entry(key).or_default().clone()
    }
}

/// Answers the first challenge that can be answered; tokens are preferred to passwords.
async fn get(
    http: &Http,
    purpose: Purpose<'_>,
    url: &Url,
    challenges: &[Challenge],
    rejected: Option<&HeaderValue>,
) -> Result<Grant, Failure> {
    let by_scheme = |scheme| challenges.iter().find(|challenge| challenge.scheme == scheme);
    if let Some(challenge) = by_scheme("bearer") {
        return bearer(http, purpose, url, challenge).await;
    }
    if by_scheme("basic").is_none() {
        return Err(Failure::Protocol("it wants authorization by no scheme that is known".to_owned()));
    }
    match purpose.credential.basic_header() {
        Some(header) if Some(&header) == rejected => Err(Failure::Credentials("it does not take the password")),
        Some(header) => Ok(Grant { header, expires: Instant::now() + MAX_LIFETIME }),
        None => Err(Failure::Credentials("it wants a user name and a password, and there are none")),
    }
}

async fn bearer(http: &Http, purpose: Purpose<'_>, url: &Url, challenge: &Challenge) -> Result<Grant, Failure> {
    let realm = realm(url, challenge)?;
    let host = authority(&realm).to_owned();
    // Counted from before the request, so that we never take a token for younger than it is.
    let asked = Instant::now();
    let token = fetch(http, purpose, url, realm, challenge)
        .await
        .map_err(|source| Failure::Token { host, source: Box::new(source) })?;
    let header = token.bearer().and_then(|token| header("Bearer", token));
    let header = header.ok_or_else(|| Failure::Protocol("its token server gave no usable token".to_owned()))?;
    Ok(Grant { header, expires: asked + token.lifetime() })
}

/// The address of the token server. A host reached by TLS cannot make us send credentials in the clear.
pub(super) fn realm(url: &Url, challenge: &Challenge) -> Result<Url, Failure> {
    let unusable = || Failure::Protocol("the address of its token server is missing or malformed".to_owned());
    let realm = challenge.parameter("realm").and_then(|text| Url::parse(text).ok()).ok_or_else(unusable)?;
    if !realm.username().is_empty() || realm.password().is_some() || !realm.has_host() {
        return Err(unusable());
    }
    match (url.scheme(), realm.scheme()) {
        (_, "https") | ("http", "http") => Ok(realm),
        ("https", "http") => Err(Failure::Protocol("its token server does not use TLS".to_owned())),
        _ => Err(unusable()),
    }
}

async fn fetch(
    http: &Http,
    purpose: Purpose<'_>,
    url: &Url,
    realm: Url,
    challenge: &Challenge,
) -> Result<Token, Failure> {
    let own_server = realm.origin() == url.origin();
    let transport = match own_server {
        true => purpose.endpoint.transport.clone(),
        false => Transport { direct: false, ..purpose.endpoint.transport.elsewhere() },
    };
    // A mirror may keep the repository under another name, which only its challenge tells.
    let scope = challenge.parameter("scope").unwrap_or(purpose.scope);
    let request = token_request(realm, challenge.parameter("service"), scope, purpose.credential);
    let response = http.send(&transport, &request).await?.response;
    if !response.status().is_success() {
        return Err(refusal(response).await);
    }
    let content = http.content(response, MAX_ANSWER).await?;
    serde_json::from_slice(&content).map_err(|_| Failure::Protocol("it is not the JSON of a token".to_owned()))
}

/// The request for a token: OAuth2's for refresh tokens, else the GET that every token server knows.
fn token_request(realm: Url, service: Option<&str>, scope: &str, credential: &Credential) -> Request {
    let service = service.map(|service| ("service", service));
    if let Credential::IdentityToken(token) = credential {
        let grant = [("grant_type", "refresh_token"), ("client_id", CLIENT_ID), ("refresh_token", token.as_str())];
        let parameters = grant.into_iter().chain([("scope", scope)]).chain(service);
        let mut form = realm.clone();
        let form = form.query_pairs_mut().clear().extend_pairs(parameters).finish().query().unwrap_or_default();
        let mut request = Request::new(Method::POST, realm);
        let content_type = HeaderValue::from_static("application/x-www-form-urlencoded");
        request.headers.insert(header::CONTENT_TYPE, content_type);
        request.body = form.to_owned().into();
        return request;
    }
    let scopes = scope.split(' ').filter(|scope| !scope.is_empty()).map(|scope| ("scope", scope));
    let mut url = realm;
    url.query_pairs_mut().extend_pairs(scopes.chain(service));
    if let Credential::Password { username, .. } = credential {
        url.query_pairs_mut().append_pair("account", username);
    }
    let mut request = Request::new(Method::GET, url);
    if let Some(header) = credential.basic_header() {
        request.private.insert(header::AUTHORIZATION, header);
    }
    request
}

/// What a token server answers.
#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    token: Option<String>,
    /// OAuth2's name for it.
    #[serde(default)]
    access_token: Option<String>,
    /// Seconds; servers have been seen to send null and fractions.
    #[serde(default)]
    expires_in: Option<f64>,
}

impl Token {
    fn bearer(&self) -> Option<&str> {
        [&self.token, &self.access_token].into_iter().flatten().map(String::as_str).find(|token| !token.is_empty())
    }

    fn lifetime(&self) -> Duration {
        let given = self.expires_in.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        given.unwrap_or(DEFAULT_LIFETIME).min(MAX_LIFETIME).saturating_sub(MARGIN)
    }
}
