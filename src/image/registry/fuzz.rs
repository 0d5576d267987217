//! Fuzz targets of a registry client: its files, and what hosts say in headers.

use http::{HeaderMap, HeaderValue, header};

use super::{auth, http as client, manifest, transfer};
pub(crate) use super::{auth::fuzz_file as auth_file, mirror::fuzz_hosts_toml as hosts_toml};

/// The headers that are taken apart, each with the whole input.
pub(crate) fn headers(input: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(input) else { return };
    let mut headers = HeaderMap::new();
    for name in [header::WWW_AUTHENTICATE, header::CONTENT_TYPE, header::RETRY_AFTER] {
        headers.insert(name, value.clone());
    }
    headers.insert(manifest::CONTENT_DIGEST, value.clone());
    auth::fuzz_challenges(&headers);
    let _ = manifest::content_type(&headers);
    let _ = manifest::promised_digest(&headers);
    let _ = client::retry_after(&headers);
    if let Some((first, last, size)) = value.to_str().ok().and_then(transfer::parse_content_range) {
        let size = size.map_or_else(|| "*".to_owned(), |size| size.to_string());
        assert_eq!(transfer::parse_content_range(&format!("bytes {first}-{last}/{size}")).map(|it| it.0), Some(first));
    }
}
