//! Fuzz targets of credentials and challenges.

use http::HeaderMap;
use reqwest::Url;

use super::{challenge, credential_files, token};

/// A file with credentials, and the answer of a helper program. Helpers are not run.
pub(crate) fn file(input: &[u8]) {
    let _ = credential_files::credential_of(input);
    let Ok(file) = serde_json::from_slice::<credential_files::File>(input) else { return };
    for registry in ["docker.io", "registry.example.com", "127.0.0.1:5000", "[::1]:5000"] {
        let _ = credential_files::helper_for(&file, registry).and_then(credential_files::program);
        let _ = credential_files::entry(&file, registry, "library/busybox").map(|entry| entry.credential());
    }
}

/// Challenges, and the addresses of token servers in them.
pub(crate) fn challenges(headers: &HeaderMap) {
    let url = Url::parse("https://registry.example.com/v2/").expect("an address");
    for challenge in challenge::challenges(headers) {
        if let Ok(realm) = token::realm(&url, &challenge) {
            assert_eq!(realm.scheme(), "https", "credentials would be sent in the clear");
        }
    }
}
