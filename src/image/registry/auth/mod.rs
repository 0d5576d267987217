//! Who we are to registries: credentials, the challenges that ask for them, and the tokens they are exchanged for.

mod challenge;
mod credential_files;
#[cfg(any(test, feature = "fuzzing"))]
mod fuzz;
mod login_file;
mod token;

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::HeaderValue;

pub(super) use credential_files::CredentialFiles;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use fuzz::{challenges as fuzz_challenges, file as fuzz_file};
pub use login_file::{LoginFile, LoginFileError};
pub(super) use token::{Purpose, Tokens};

use super::{endpoint::Endpoint, mirror::same_registry};
use crate::types::Digest;

/// Credentials for one pull, as the caller gives them; all fields may be empty.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Auth {
    /// User name.
    pub username: String,
    /// Password.
    pub password: String,
    /// Base64 of `user:password`, possibly with a NUL or a newline at the end.
    pub auth: String,
    /// Host that they are for, also as an address; empty for the host in the image's name.
    pub server_address: String,
    /// Refresh token that the token server gives a bearer token for.
    pub identity_token: String,
    /// Bearer token to be sent to the registry as it is.
    pub registry_token: String,
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth").field("server_address", &self.server_address).finish_non_exhaustive()
    }
}

/// What is proven to a registry or its token server.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) enum Credential {
    /// Nothing.
    #[default]
    Anonymous,
    /// A name and a password.
    Password { username: String, password: String },
    /// A refresh token for the token server.
    IdentityToken(String),
    /// A bearer token for the registry.
    RegistryToken(String),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Anonymous => "Anonymous",
            Self::Password { .. } => "Password",
            Self::IdentityToken(_) => "IdentityToken",
            Self::RegistryToken(_) => "RegistryToken",
        })
    }
}

impl Credential {
    /// Reads what a caller gave: a registry token, else an identity token, else a user name and password, else `auth`.
    /// Beside a password, an identity token is left aside; beside a mere user name, it is the user name that means
    /// nothing. The error says what is wrong, without any part of it.
    pub(super) fn from_auth(auth: &Auth) -> Result<Self, &'static str> {
        if !auth.registry_token.is_empty() {
            Ok(Self::RegistryToken(auth.registry_token.clone()))
        } else if !auth.identity_token.is_empty() && auth.password.is_empty() {
            Ok(Self::IdentityToken(auth.identity_token.clone()))
        } else if !auth.username.is_empty() {
            Ok(Self::Password { username: auth.username.clone(), password: auth.password.clone() })
        } else {
            Self::from_base64(&auth.auth)
        }
    }

    /// Reads base64 of `user:password`; NULs and newlines at the end of either layer are dropped, as writers of such
    /// files leave them there.
    fn from_base64(text: &str) -> Result<Self, &'static str> {
        let is_padding = |char| matches!(char, '\0' | '\n' | '\r');
        let text = text.trim_end_matches(is_padding);
        if text.is_empty() {
            return Ok(Self::Anonymous);
        }
        let decoded = STANDARD.decode(text).map_err(|_| "auth is not base64")?;
        let decoded = String::from_utf8(decoded).map_err(|_| "auth is not base64 of UTF-8 text")?;
        let (username, password) = decoded.split_once(':').ok_or("auth is not base64 of user:password")?;
        let password = password.trim_end_matches(is_padding);
        Ok(Self::Password { username: username.to_owned(), password: password.to_owned() })
    }

    /// The header for the Basic scheme, RFC 7617.
    fn basic_header(&self) -> Option<HeaderValue> {
        match self {
            Self::Password { username, password } => {
                header("Basic", &STANDARD.encode(format!("{username}:{password}")))
            }
            _ => None,
        }
    }

    /// Tells equal credentials from others without keeping them.
    fn fingerprint(&self) -> Digest {
        let text = match self {
            Self::Anonymous => String::new(),
            Self::Password { username, password } => format!("p{}:{username}{password}", username.len()),
            Self::IdentityToken(token) => format!("i{token}"),
            Self::RegistryToken(token) => format!("r{token}"),
        };
        Digest::of(text.as_bytes())
    }
}

/// An `Authorization` header that logs do not show; `None` if the text cannot be in a header.
fn header(scheme: &str, text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("{scheme} {text}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Where the credentials of an operation come from.
#[derive(Debug, Clone)]
pub(super) enum Credentials {
    /// The caller gave them, for the registry itself or for the host they name.
    Given { credential: Credential, server_address: String },
    /// The caller gave none: what this host has for each registry.
    Files(CredentialFiles),
}

impl Credentials {
    /// What an endpoint gets to see. Given credentials are shown to the host that they are for, and to mirrors only if
    /// their configuration says so.
    pub(super) async fn for_endpoint(&self, endpoint: &Endpoint, domain: &str, repository: &str) -> Credential {
        match self {
            _ if endpoint.foreign => Credential::Anonymous,
            Self::Given { credential, server_address } => {
                let server = host_of(server_address);
                let named = !server.is_empty() && same_registry(server, endpoint.host());
                let for_registry = server.is_empty() || same_registry(server, domain);
                if named || (for_registry && (endpoint.upstream || endpoint.forward_credentials)) {
                    credential.clone()
                } else {
                    Credential::Anonymous
                }
            }
            Self::Files(files) => files.find(endpoint, domain, repository).await,
        }
    }
}

/// The host of what may be a host or an address: `https://registry.example:5000/v1/`.
fn host_of(address: &str) -> &str {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    rest.split('/').next().unwrap_or_default()
}
