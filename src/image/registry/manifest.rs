//! Manifests, OCI distribution-spec "Pulling manifests".

use http::{HeaderMap, HeaderValue, Method, header};
use serde::Deserialize;

use super::{
    descriptor::Resolved,
    endpoint::Endpoint,
    error::Failure,
    http::{Request, refusal},
    repository::Repository,
};
use crate::types::Digest;

/// Largest manifest that is taken; registries need not take larger ones either.
const MAX_MANIFEST: usize = 4 << 20;
/// The kinds of manifest that are understood.
const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";
/// How the names of Docker's first kind of manifest begin.
const SCHEMA_ONE: &str = "application/vnd.docker.distribution.manifest.v1";
/// Header with the digest of a manifest.
pub(super) const CONTENT_DIGEST: &str = "docker-content-digest";

impl Repository {
    /// Asks one host for a manifest by a tag or digest, and checks it against `expected` or what the host says.
    pub(super) async fn manifest(
        &self,
        endpoint: &Endpoint,
        name: &str,
        expected: Option<Digest>,
    ) -> Result<Resolved, Failure> {
        let url = endpoint.url(self.reference.repository(), &format!("manifests/{name}"));
        let mut request = Request::new(Method::GET, url);
        request.headers.insert(header::ACCEPT, HeaderValue::from_static(ACCEPT));
        let response = self.send(endpoint, request).await?.response;
        if !response.status().is_success() {
            return Err(refusal(response).await);
        }
        let headers = response.headers().clone();
        let media_type = content_type(&headers);
        if media_type.as_deref().is_some_and(|media_type| media_type.starts_with(SCHEMA_ONE)) {
            return Err(Failure::SchemaOne);
        }
        let bytes = self.http.content(response, MAX_MANIFEST).await?;
        let digest = Digest::of(&bytes);
        if let Some(expected) = expected.or_else(|| promised_digest(&headers))
            && expected != digest
        {
            return Err(Failure::Digest { expected, found: digest });
        }
        let media_type = match media_type {
            Some(media_type) => media_type,
            None => own_media_type(&bytes)?,
        };
        Ok(Resolved { digest, media_type, bytes })
    }
}

/// The media type, if the host gives one that says more than that there is something.
pub(super) fn content_type(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let media_type = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let says_nothing =
        matches!(media_type.as_str(), "" | "application/json" | "application/octet-stream" | "text/plain");
    (!says_nothing).then_some(media_type)
}

/// The digest that the host gives. One of another algorithm cannot be checked, and need not be: without it the tag
/// would be believed just as well.
pub(super) fn promised_digest(headers: &HeaderMap) -> Option<Digest> {
    headers.get(CONTENT_DIGEST)?.to_str().ok()?.parse().ok()
}

/// What a manifest says about itself.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SelfDescription {
    #[serde(default)]
    schema_version: u32,
    #[serde(default)]
    media_type: String,
    #[serde(default)]
    manifests: Option<serde::de::IgnoredAny>,
}

/// What a manifest or index says that it is, or must be if it says nothing.
pub(in crate::image) fn own_media_type(bytes: &[u8]) -> Result<String, Failure> {
    let malformed = |_| Failure::Protocol("manifest is not a JSON object".to_owned());
    let manifest: SelfDescription = serde_json::from_slice(bytes).map_err(malformed)?;
    if manifest.schema_version == 1 {
        return Err(Failure::SchemaOne);
    }
    // OCI allows manifests to leave it out; only OCI's do.
    Ok(match (manifest.media_type.as_str(), manifest.manifests) {
        ("", Some(_)) => "application/vnd.oci.image.index.v1+json".to_owned(),
        ("", None) => "application/vnd.oci.image.manifest.v1+json".to_owned(),
        (own, _) => own.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_tells_what_it_is_when_the_host_does_not() {
        let of = |text: &str| own_media_type(text.as_bytes());
        assert_eq!(of(r#"{"mediaType":"a/b"}"#).expect("is one"), "a/b");
        assert!(of(r#"{"manifests":[{"x":1}]}"#).expect("is one").contains("index"));
        assert!(of(r#"{"layers":[]}"#).expect("is one").contains("manifest"));
        assert!(matches!(of(r#"{"schemaVersion":1}"#), Err(Failure::SchemaOne)));
        assert!(matches!(of("<html>"), Err(Failure::Protocol(_))));
    }
}
