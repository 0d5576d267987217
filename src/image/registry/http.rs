//! Single HTTP requests: bounded in time and size, redirects followed without what is meant for one host only.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, header};
use reqwest::{Response, Url};
use serde::Deserialize;
use tokio::time::timeout;

use super::{
    endpoint::{Endpoint, authority, is_loopback},
    error::Failure,
    transport::{Connections, Transport},
};

/// Redirects that are followed for one request.
const MAX_REDIRECTS: usize = 10;
/// Bytes of a refusal that are read to show its reason.
const MAX_REFUSAL: usize = 16 << 10;
/// Characters of a refusal's reason that are shown.
const MAX_DETAIL: usize = 300;
/// How long we wait for the rest of an answer that only matters to keep the connection.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes a second that we must be able to send.
const SLOWEST_UPLOAD: u64 = 16 << 10;
/// How long it is remembered that a host does not speak TLS.
const PLAIN_MEMORY: Duration = Duration::from_secs(600);

/// A request to be sent. It is not to be shown: its content may be a token, its address may have a signature.
#[derive(Clone)]
pub(super) struct Request {
    /// Method; only GET and HEAD follow redirects.
    pub(super) method: Method,
    /// Address.
    pub(super) url: Url,
    /// Headers for whoever answers in the end.
    pub(super) headers: HeaderMap,
    /// Headers for the host in `url` alone: credentials.
    pub(super) private: HeaderMap,
    /// Content.
    pub(super) body: Bytes,
}

impl Request {
    /// A request without content.
    pub(super) fn new(method: Method, url: Url) -> Self {
        Self { method, url, headers: HeaderMap::new(), private: HeaderMap::new(), body: Bytes::new() }
    }
}

/// The head of an answer, with its content still to come.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) response: Response,
    /// Whether the host that was asked answered itself, and not one it sent us to.
    pub(super) from_origin: bool,
}

/// Sends requests.
#[derive(Debug)]
pub(super) struct Http {
    connections: Connections,
    /// Longest time without any byte of an answer.
    stall_timeout: Duration,
    /// Hosts that were found not to speak TLS, and when.
    plain: Mutex<HashMap<String, Instant>>,
}

impl Http {
    pub(super) fn new(user_agent: String, stall_timeout: Duration) -> Self {
        Self { connections: Connections::new(user_agent), stall_timeout, plain: Mutex::default() }
    }

    /// Sends a request to an endpoint; falls back to plain HTTP if the endpoint may and does not speak TLS.
    pub(super) async fn send_to(&self, endpoint: &Endpoint, request: &Request) -> Result<Answer, Failure> {
        if !endpoint.plain_fallback || request.url.scheme() != "https" {
            return self.send(&endpoint.transport, request).await;
        }
        let host = authority(&request.url).to_owned();
        if !self.is_plain(&host) {
            match self.send(&endpoint.transport, request).await {
                Err(Failure::Transport(cause)) if cause.is_failed_handshake() => {
                    tracing::debug!(%host, "registry does not speak TLS, using plain HTTP");
                    self.plain.lock().unwrap_or_else(PoisonError::into_inner).insert(host, Instant::now());
                }
                other => return other,
            }
        }
        let request = Request { url: without_tls(request.url.clone()), ..request.clone() };
        self.send(&endpoint.transport, &request).await
    }

    fn is_plain(&self, host: &str) -> bool {
        let mut plain = self.plain.lock().unwrap_or_else(PoisonError::into_inner);
        plain.retain(|_, since| since.elapsed() < PLAIN_MEMORY);
        plain.contains_key(host)
    }

    /// Sends a request and follows where it is sent on to. Whatever is answered is a success here.
    pub(super) async fn send(&self, transport: &Transport, request: &Request) -> Result<Answer, Failure> {
        let mut url = request.url.clone();
        let mut from_origin = true;
        for _ in 0..=MAX_REDIRECTS {
            let response = if from_origin {
                self.send_once(transport, request, url.clone(), true).await?
            } else {
                let transport = Transport { direct: is_loopback(authority(&url)), ..transport.elsewhere() };
                self.send_once(&transport, request, url.clone(), false).await?
            };
            let Some(next) = redirect_target(request, &response)? else {
                return Ok(Answer { response, from_origin });
            };
            drain(response).await;
            // Once away, never trusted again: the way back may have been chosen by another host.
            from_origin = from_origin && next.origin() == request.url.origin();
            url = next;
        }
        Err(Failure::Redirect(format!("there are more than {MAX_REDIRECTS}")))
    }

    async fn send_once(
        &self,
        transport: &Transport,
        request: &Request,
        url: Url,
        trusted: bool,
    ) -> Result<Response, Failure> {
        let client = self.connections.client(transport, url.scheme() == "https")?;
        tracing::debug!(method = %request.method, host = authority(&url), path = url.path(), "registry request");
        let mut headers = request.headers.clone();
        if trusted {
            headers.extend(request.private.clone());
        }
        let sending = client.request(request.method.clone(), url).headers(headers).body(request.body.clone()).send();
        let sending_time = Duration::from_secs(request.body.len() as u64 / SLOWEST_UPLOAD);
        let patience = transport.connect_timeout + self.stall_timeout + sending_time;
        let response = timeout(patience, sending).await.map_err(|_| Failure::Stalled(patience))??;
        Ok(response)
    }

    /// The next piece of an answer's content.
    pub(super) async fn chunk(&self, response: &mut Response) -> Result<Option<Bytes>, Failure> {
        Ok(timeout(self.stall_timeout, response.chunk()).await.map_err(|_| Failure::Stalled(self.stall_timeout))??)
    }

    /// The whole content of an answer, which must be no longer than `limit` and arrive in reasonable time.
    pub(super) async fn content(&self, mut response: Response, limit: usize) -> Result<Bytes, Failure> {
        if response.content_length().is_some_and(|length| length > limit as u64) {
            return Err(Failure::TooLong(limit));
        }
        let patience = self.stall_timeout * 2;
        let receiving = async {
            let mut content = BytesMut::new();
            while let Some(chunk) = self.chunk(&mut response).await? {
                if content.len() + chunk.len() > limit {
                    return Err(Failure::TooLong(limit));
                }
                content.extend_from_slice(&chunk);
            }
            Ok(content.freeze())
        };
        timeout(patience, receiving).await.map_err(|_| Failure::Slow(patience))?
    }
}

/// Makes a failure of an answer that refuses, with the reason that the host gives.
pub(super) async fn refusal(response: Response) -> Failure {
    let status = response.status();
    let retry_after = retry_after(response.headers());
    let text = beginning(response, MAX_REFUSAL).await;
    Failure::Status { status, detail: detail(&text), retry_after }
}

/// Reads what is left of an answer, so that its connection can be used again, if that is quickly done.
pub(super) async fn drain(response: Response) {
    beginning(response, MAX_REFUSAL).await;
}

async fn beginning(mut response: Response, limit: usize) -> Vec<u8> {
    let mut content = Vec::new();
    let receiving = async {
        while let Ok(Some(chunk)) = response.chunk().await {
            content.extend_from_slice(&chunk);
            if content.len() > limit {
                break;
            }
        }
    };
    // What has come by then will do.
    let _ = timeout(DRAIN_TIMEOUT, receiving).await;
    content
}

/// Where an answer sends a request on to.
fn redirect_target(request: &Request, response: &Response) -> Result<Option<Url>, Failure> {
    let redirects = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    if !redirects || !matches!(request.method, Method::GET | Method::HEAD) {
        return Ok(None);
    }
    let malformed = || Failure::Redirect("its address is missing or malformed".to_owned());
    let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
    let mut next = response.url().join(location.ok_or_else(malformed)?).map_err(|_| malformed())?;
    match (response.url().scheme(), next.scheme()) {
        (_, "https") | ("http", "http") if next.has_host() => {}
        (_, "http") => return Err(Failure::Redirect("it leads from TLS to plain HTTP".to_owned())),
        _ => return Err(malformed()),
    }
    // The client would turn these into an Authorization header.
    if next.set_username("").and_then(|()| next.set_password(None)).is_err() {
        return Err(malformed());
    }
    Ok(Some(next))
}

fn without_tls(address: Url) -> Url {
    let port = address.port_or_known_default();
    let mut plain = address;
    // Both cannot fail: the scheme is a special one as before, and there is a host.
    let _ = plain.set_scheme("http");
    let _ = plain.set_port(port);
    plain
}

/// How long a host wants to be left alone, RFC 9110 section 10.2.3: seconds or a date.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => {
            let date = httpdate::parse_http_date(text).ok()?;
            Some(date.duration_since(SystemTime::now()).unwrap_or_default())
        }
    }
}

/// What registries add to a refusal, OCI distribution-spec "Error Codes".
#[derive(Deserialize)]
struct Refusal {
    errors: Vec<Reason>,
}

#[derive(Deserialize)]
struct Reason {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// The first reason of a refusal for people to read; it is the peer's text, so it is cleaned and cut.
fn detail(content: &[u8]) -> String {
    let Ok(refusal) = serde_json::from_slice::<Refusal>(content) else { return String::new() };
    let Some(reason) = refusal.errors.first() else { return String::new() };
    let text = match (reason.code.is_empty(), reason.message.is_empty()) {
        (false, false) => format!("{}: {}", reason.code, reason.message),
        (true, true) => return String::new(),
        _ => format!("{}{}", reason.code, reason.message),
    };
    let clean = text.chars().map(|char| if char.is_control() { ' ' } else { char }).take(MAX_DETAIL);
    format!(": {}", clean.collect::<String>())
}
