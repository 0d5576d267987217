//! Pushing, OCI distribution-spec "Pushing blobs" and "Pushing manifests".
//!
//! Content goes to the first host that may be pushed to, and to no other one: where an image is to be found afterwards
//! must not depend on who was reachable.

use std::{
    io::{self, SeekFrom},
    sync::Arc,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use reqwest::{Response, Url};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncSeek, AsyncSeekExt as _};

use super::{
    auth::Auth,
    candidates::Candidates,
    client::{Access, Client},
    descriptor::Descriptor,
    endpoint::{Capability, Endpoint, authority},
    error::{Error, Failure},
    http::{Request, drain, refusal},
    repository::Repository,
};
use crate::types::{Digest, Reference};

/// Bytes that are sent in one request; each is held in memory while it is sent.
const CHUNK: u64 = 8 << 20;
/// The largest chunk that a registry can make us use.
const LARGEST_CHUNK: u64 = 64 << 20;
/// Header by which registries ask for larger chunks.
const MIN_CHUNK: &str = "oci-chunk-min-length";

/// How a blob came to be in a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It was there.
    Present,
    /// It was in another repository of the registry, which now shares it.
    Mounted,
    /// Its content was sent.
    Uploaded,
}

/// A blob that is to be in a repository.
#[derive(Debug, Clone, Copy)]
pub struct BlobPush<'a> {
    /// An image of the repository.
    pub reference: &'a Reference,
    /// The blob.
    pub blob: &'a Descriptor,
    /// A repository of the same registry that is believed to have it.
    pub mount_from: Option<&'a str>,
    /// Credentials.
    pub auth: Option<&'a Auth>,
}

/// What is sent as a blob, if it has to be sent.
pub trait Content: Send {
    /// Gives the content.
    type Reader: AsyncRead + AsyncSeek + Send + Unpin;

    /// Opens the content; it is asked for only when the registry does not have the blob.
    fn open(&mut self) -> impl Future<Output = io::Result<Self::Reader>> + Send;

    /// Hears how many bytes the registry has.
    fn sent(&mut self, bytes: u64);
}

impl Client {
    /// Puts a blob into a repository, unless it is there.
    pub async fn push_blob(&self, push: BlobPush<'_>, content: &mut impl Content) -> Result<Pushed, Error> {
        let BlobPush { reference, blob, mount_from, auth } = push;
        let repository = self.repository(reference, Access::Push { mount_from }, auth).await?;
        let mut candidates = target(&repository)?;
        let mut push = Push { repository: &repository, blob, mount_from, content, reader: None, upload: None };
        while let Some(endpoint) = candidates.next().await {
            let before = push.sent();
            match push.attempt(&endpoint).await {
                Ok(pushed) => return Ok(pushed),
                Err(failure) => {
                    candidates.gained(push.sent().saturating_sub(before));
                    candidates.failed(failure);
                }
            }
        }
        Err(candidates.into_error("push", format!("{} to {reference}", blob.digest)))
    }

    /// Puts a manifest or index under a reference's tag, or under its own digest if there is none. All that it points
    /// to must have been pushed before.
    pub async fn push_manifest(
        &self,
        reference: &Reference,
        media_type: &str,
        bytes: Bytes,
        auth: Option<&Auth>,
    ) -> Result<Digest, Error> {
        let repository = self.repository(reference, Access::Push { mount_from: None }, auth).await?;
        let mut candidates = target(&repository)?;
        while let Some(endpoint) = candidates.next().await {
            match put_manifest(&repository, &endpoint, media_type, &bytes).await {
                Ok(digest) => return Ok(digest),
                Err(failure) => candidates.failed(failure),
            }
        }
        Err(candidates.into_error("push", reference.to_string()))
    }
}

/// The one host that is pushed to.
fn target(repository: &Repository) -> Result<Candidates, Error> {
    let first = repository.endpoints.iter().find(|endpoint| endpoint.can(Capability::Push));
    let no_host = || Error::NoHost { operation: "push", object: repository.reference.to_string() };
    Ok(Candidates::new(repository.patience, vec![Arc::clone(first.ok_or_else(no_host)?)]))
}

async fn put_manifest(
    repository: &Repository,
    endpoint: &Endpoint,
    media_type: &str,
    bytes: &Bytes,
) -> Result<Digest, Failure> {
    let expected = Digest::of(bytes);
    let name = repository.reference.tag().map_or_else(|| expected.to_string(), str::to_owned);
    let url = endpoint.url(repository.reference.repository(), &format!("manifests/{name}"));
    let mut request = Request::new(Method::PUT, url);
    let media_type = HeaderValue::from_str(media_type);
    let media_type = media_type.map_err(|_| Failure::Protocol("media type of the manifest is malformed".to_owned()))?;
    request.headers.insert(header::CONTENT_TYPE, media_type);
    request.body = bytes.clone();
    let response = expect(repository.send(endpoint, request).await?.response, &[StatusCode::CREATED]).await?;
    let found = response.headers().get("docker-content-digest").and_then(|value| value.to_str().ok()?.parse().ok());
    drain(response).await;
    match found {
        Some(found) if found != expected => Err(Failure::Digest { expected, found }),
        _ => Ok(expected),
    }
}

/// A blob on its way to a host; an upload that has begun survives the failure of a request.
struct Push<'a, C: Content> {
    repository: &'a Repository,
    blob: &'a Descriptor,
    mount_from: Option<&'a str>,
    content: &'a mut C,
    reader: Option<C::Reader>,
    upload: Option<Upload>,
}

/// An upload session of the registry.
struct Upload {
    /// Where the next request goes.
    location: Url,
    /// Bytes that the registry has.
    offset: u64,
    /// Bytes of a request.
    chunk: u64,
}

impl<C: Content> Push<'_, C> {
    fn sent(&self) -> u64 {
        self.upload.as_ref().map_or(0, |upload| upload.offset)
    }

    async fn attempt(&mut self, endpoint: &Endpoint) -> Result<Pushed, Failure> {
        match self.upload.take() {
            Some(upload) => self.upload = self.resume(endpoint, upload).await,
            None if self.is_present(endpoint).await? => return Ok(Pushed::Present),
            None => {}
        }
        if self.upload.is_none() {
            let Some(upload) = self.begin(endpoint).await? else { return Ok(Pushed::Mounted) };
            self.upload = Some(upload);
        }
        self.send(endpoint).await?;
        Ok(Pushed::Uploaded)
    }

    async fn is_present(&self, endpoint: &Endpoint) -> Result<bool, Failure> {
        let url = self.url(endpoint, &self.blob.digest.to_string());
        let response = self.repository.send(endpoint, Request::new(Method::HEAD, url)).await?.response;
        match response.status() {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(refusal(response).await),
        }
    }

    /// Begins an upload, unless the blob could be taken from the other repository.
    async fn begin(&self, endpoint: &Endpoint) -> Result<Option<Upload>, Failure> {
        let mut url = self.url(endpoint, "uploads/");
        if let Some(other) = self.mount_from {
            let digest = self.blob.digest.to_string();
            url.query_pairs_mut().append_pair("mount", &digest).append_pair("from", other);
        }
        let response = self.repository.send(endpoint, Request::new(Method::POST, url)).await?.response;
        let response = expect(response, &[StatusCode::CREATED, StatusCode::ACCEPTED]).await?;
        if response.status() == StatusCode::CREATED {
            drain(response).await;
            return Ok(None);
        }
        let least = number(response.headers(), MIN_CHUNK).unwrap_or(0);
        if least > LARGEST_CHUNK {
            return Err(Failure::Protocol(format!("it wants chunks of {least} bytes")));
        }
        let location = location(&response)?;
        drain(response).await;
        Ok(Some(Upload { location, offset: 0, chunk: least.max(CHUNK) }))
    }

    /// Asks how much of an upload has arrived; one that the registry has forgotten is given up.
    async fn resume(&self, endpoint: &Endpoint, upload: Upload) -> Option<Upload> {
        let response = self.repository.send(endpoint, Request::new(Method::GET, upload.location.clone())).await;
        let response = response.ok()?.response;
        if response.status() != StatusCode::NO_CONTENT {
            drain(response).await;
            return None;
        }
        let offset = arrived(response.headers()).filter(|offset| *offset <= self.blob.size)?;
        let location = location(&response).unwrap_or(upload.location);
        Some(Upload { location, offset, chunk: upload.chunk })
    }

    /// Sends the rest of the content and ends the upload with its last chunk.
    async fn send(&mut self, endpoint: &Endpoint) -> Result<(), Failure> {
        let Some(upload) = &mut self.upload else { return Ok(()) };
        let reader = match &mut self.reader {
            Some(reader) => reader,
            none => none.insert(self.content.open().await.map_err(Failure::Content)?),
        };
        while self.blob.size - upload.offset > upload.chunk {
            let body = read(reader, upload.offset, upload.chunk).await?;
            let end = upload.offset + upload.chunk;
            let request = content_request(Method::PATCH, upload.location.clone(), upload.offset, body);
            let response = self.repository.send(endpoint, request).await?.response;
            let response = expect(response, &[StatusCode::ACCEPTED]).await?;
            upload.location = location(&response)?;
            // Registries may take less than they were sent; most say nothing when they took it all.
            let taken = arrived(response.headers()).unwrap_or(end).min(end);
            if taken <= upload.offset {
                return Err(Failure::Protocol("it takes nothing of the upload".to_owned()));
            }
            upload.offset = taken;
            self.content.sent(upload.offset);
            drain(response).await;
        }
        let rest = self.blob.size - upload.offset;
        let body = read(reader, upload.offset, rest).await?;
        let mut url = upload.location.clone();
        url.query_pairs_mut().append_pair("digest", &self.blob.digest.to_string());
        let request = content_request(Method::PUT, url, upload.offset, body);
        let response = self.repository.send(endpoint, request).await?.response;
        drain(expect(response, &[StatusCode::CREATED, StatusCode::NO_CONTENT]).await?).await;
        self.content.sent(self.blob.size);
        Ok(())
    }

    fn url(&self, endpoint: &Endpoint, object: &str) -> Url {
        endpoint.url(self.repository.reference.repository(), &format!("blobs/{object}"))
    }
}

fn content_request(method: Method, url: Url, offset: u64, body: Bytes) -> Request {
    let mut request = Request::new(method, url);
    request.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    let last = (offset + body.len() as u64).saturating_sub(1);
    if !body.is_empty()
        && let Ok(range) = HeaderValue::from_str(&format!("{offset}-{last}"))
    {
        request.headers.insert(header::CONTENT_RANGE, range);
    }
    request.body = body;
    request
}

async fn read(content: &mut (impl AsyncRead + AsyncSeek + Unpin), offset: u64, length: u64) -> Result<Bytes, Failure> {
    content.seek(SeekFrom::Start(offset)).await.map_err(Failure::Content)?;
    let mut body = BytesMut::zeroed(usize::try_from(length).unwrap_or(usize::MAX));
    content.read_exact(&mut body).await.map_err(Failure::Content)?;
    Ok(body.freeze())
}

async fn expect(response: Response, statuses: &[StatusCode]) -> Result<Response, Failure> {
    if statuses.contains(&response.status()) { Ok(response) } else { Err(refusal(response).await) }
}

/// Where an upload goes on. Registries behind a proxy that does TLS for them often do not know that they are: their
/// own address without TLS stands for the one with it.
fn location(response: &Response) -> Result<Url, Failure> {
    let malformed = || Failure::Redirect("address of the upload is missing or malformed".to_owned());
    let text = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok()).ok_or_else(malformed)?;
    let base = response.url();
    let mut url = base.join(text).map_err(|_| malformed())?;
    if base.scheme() == "https" && url.scheme() == "http" {
        if authority(&url) != authority(base) {
            return Err(Failure::Redirect("upload leads from TLS to plain HTTP".to_owned()));
        }
        url.set_scheme("https").map_err(|()| malformed())?;
    }
    let is_web = matches!(url.scheme(), "http" | "https") && url.has_host();
    if !is_web || !url.username().is_empty() || url.password().is_some() {
        return Err(malformed());
    }
    Ok(url)
}

/// How many bytes have arrived, by `Range: 0-<last>`; nothing has if the last is 0, as registries write it.
fn arrived(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(header::RANGE)?.to_str().ok()?;
    let last: u64 = text.strip_prefix("bytes=").unwrap_or(text).strip_prefix("0-")?.parse().ok()?;
    Some(if last == 0 { 0 } else { last + 1 })
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}
