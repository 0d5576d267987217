//! Names of images, by the grammar that Docker gave them.
//!
//! ```text
//! reference  = [ domain "/" ] path [ ":" tag ] [ "@" digest ]
//! domain     = ( name *( "." name ) | IPv4 | "[" IPv6 "]" ) [ ":" port ]
//! path       = component *( "/" component )
//! component  = 1*( a-z / 0-9 ) *( ( "." / "_" / "__" / 1*"-" ) 1*( a-z / 0-9 ) )
//! tag        = ( letter / digit / "_" ) *127( letter / digit / "_" / "." / "-" )
//! ```

use std::{fmt, net::Ipv6Addr, ops::Range, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{Digest, digest::InvalidDigest};

/// Domain of names that have none: Docker Hub.
const DEFAULT_DOMAIN: &str = "docker.io";
/// What Docker Hub was called in names of old.
const LEGACY_DOMAIN: &str = "index.docker.io";
/// Where Docker Hub keeps the names of one component.
const LIBRARY: &str = "library/";
/// Tag of names that have neither tag nor digest.
const DEFAULT_TAG: &str = "latest";
/// Longest path, as registries enforce it.
const MAX_PATH: usize = 255;
/// Longest tag.
const MAX_TAG: usize = 128;
/// Longest domain: 253 bytes of host name and a port.
const MAX_DOMAIN: usize = 253 + ":65535".len();

/// The name of an image in a registry, with domain, and with a tag, a digest or both.
///
/// Parsing normalises as Docker does: `busybox` is `docker.io/library/busybox:latest`. What is shown is the full name,
/// which parses to the same reference again.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a string does not name an image. The texts show at most the first 80 characters of it.
#[derive(Debug, thiserror::Error)]
pub enum InvalidReference {
    /// Nothing at all, or nothing before the tag or digest.
    #[error("image name is empty")]
    Empty,
    /// The host does not follow the grammar.
    #[error("malformed registry host in image name: {0:?}")]
    Domain(String),
    /// The path does not follow the grammar.
    #[error("malformed repository in image name: {0:?}")]
    Path(String),
    /// The path has upper-case letters.
    #[error("repository in image name must be lower case: {0:?}")]
    UpperCase(String),
    /// The path or the host is too long.
    #[error("image name is too long: {0:?}…")]
    TooLong(String),
    /// The tag does not follow the grammar.
    #[error("malformed tag in image name: {0:?}")]
    Tag(String),
    /// What follows the `@` is not a digest.
    #[error("image name {name:?}")]
    Digest {
        /// The whole name.
        name: String,
        /// What is wrong with the digest.
        source: InvalidDigest,
    },
    /// An image id instead of a name.
    #[error("an image id or digest is not an image name: {0:?}")]
    Identifier(String),
}

impl Reference {
    /// Host of the registry, with its port if it has one: `docker.io`, `[::1]:5000`.
    ///
    /// This is the domain that people write; which hosts serve it is for the registry client to decide.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Path below the registry: `library/busybox`.
    pub fn repository(&self) -> &str {
        &self.path
    }

    /// The tag; a reference without one has a digest.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest of the manifest.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// Domain and repository: `docker.io/library/busybox`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The name with its tag and without a digest, if there is a tag.
    pub fn tagged(&self) -> Option<String> {
        self.tag.as_ref().map(|tag| format!("{}/{}:{tag}", self.domain, self.path))
    }

    /// The reference to one certain manifest of the same repository, without a tag.
    pub fn pinned(&self, digest: Digest) -> Self {
        Self { domain: self.domain.clone(), path: self.path.clone(), tag: None, digest: Some(digest) }
    }
}

impl FromStr for Reference {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        if is_identifier(text) {
            return Err(InvalidReference::Identifier(excerpt(text)));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                let digest =
                    digest.parse().map_err(|source| InvalidReference::Digest { name: excerpt(text), source })?;
                (rest, Some(digest))
            }
            None => (text, None),
        };
        let (domain, rest) = split_domain(rest);
        let (path, tag) = match rest.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (rest, None),
        };
        if path.is_empty() {
            return Err(InvalidReference::Empty);
        }
        let path = match domain {
            DEFAULT_DOMAIN if !path.contains('/') => format!("{LIBRARY}{path}"),
            _ => path.to_owned(),
        };
        check_domain(domain)?;
        check_path(&path)?;
        if let Some(tag) = tag {
            check_tag(tag)?;
        }
        let tag = tag.or(if digest.is_none() { Some(DEFAULT_TAG) } else { None });
        Ok(Self { domain: domain.to_owned(), path, tag: tag.map(str::to_owned), digest })
    }
}

/// Whether the text is an image id as lists show it: it would otherwise be a repository of that name, or the
/// repository `sha256` with a tag.
fn is_identifier(text: &str) -> bool {
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    hex.len() == 64 && hex.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}

/// Splits the domain off, or gives Docker Hub's: only a first part that cannot be a path component, or `localhost`,
/// is taken for a domain.
fn split_domain(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some((LEGACY_DOMAIN, rest)) => (DEFAULT_DOMAIN, rest),
        Some((first, rest))
            if first == "localhost"
                || first.contains(['.', ':'])
                || first.bytes().any(|byte| byte.is_ascii_uppercase()) =>
        {
            (first, rest)
        }
        _ => (DEFAULT_DOMAIN, name),
    }
}

fn check_domain(domain: &str) -> Result<(), InvalidReference> {
    if domain.len() > MAX_DOMAIN {
        return Err(InvalidReference::TooLong(excerpt(domain)));
    }
    let malformed = || InvalidReference::Domain(excerpt(domain));
    let (host_is_valid, port) = match domain.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']').ok_or_else(malformed)?;
            (address.parse::<Ipv6Addr>().is_ok(), port)
        }
        None => {
            let (host, port) = domain.split_at(domain.find(':').unwrap_or(domain.len()));
            (host.split('.').all(is_domain_component), port)
        }
    };
    if host_is_valid && is_port(port) { Ok(()) } else { Err(malformed()) }
}

fn is_domain_component(label: &str) -> bool {
    let bytes = label.as_bytes();
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    edge(bytes.first()) && edge(bytes.last()) && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
}

/// Whether the text is empty, or a colon and a port of decimal digits alone.
fn is_port(text: &str) -> bool {
    match text.strip_prefix(':') {
        Some(digits) => digits.bytes().all(|digit| digit.is_ascii_digit()) && digits.parse::<u16>().is_ok(),
        None => text.is_empty(),
    }
}

fn check_path(path: &str) -> Result<(), InvalidReference> {
    if path.len() > MAX_PATH {
        return Err(InvalidReference::TooLong(excerpt(path)));
    }
    if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(InvalidReference::UpperCase(excerpt(path)));
    }
    if path.split('/').all(is_path_component) { Ok(()) } else { Err(InvalidReference::Path(excerpt(path))) }
}

fn is_path_component(component: &str) -> bool {
    let bytes = component.as_bytes();
    let is_word = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let mut separators = separators(bytes, is_word);
    bytes.first().is_some_and(is_word)
        && bytes.last().is_some_and(is_word)
        && separators.all(|range| match &bytes[range] {
            b"." | b"_" | b"__" => true,
            separator => separator.iter().all(|byte| *byte == b'-'),
        })
}

/// The longest runs of bytes that are not of a word.
fn separators(bytes: &[u8], is_word: impl Fn(&u8) -> bool) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + bytes[at..].iter().position(|byte| !is_word(byte))?;
        at = bytes[start..].iter().position(&is_word).map_or(bytes.len(), |length| start + length);
        Some(start..at)
    })
}

fn check_tag(tag: &str) -> Result<(), InvalidReference> {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let mut bytes = tag.bytes();
    let valid = tag.len() <= MAX_TAG
        && bytes.next().is_some_and(is_word)
        && bytes.all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'));
    if valid { Ok(()) } else { Err(InvalidReference::Tag(excerpt(tag))) }
}

fn excerpt(text: &str) -> String {
    text.chars().take(80).collect()
}

impl TryFrom<String> for Reference {
    type Error = InvalidReference;

    fn try_from(text: String) -> Result<Self, InvalidReference> {
        text.parse()
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> Self {
        reference.to_string()
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.domain, self.path)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests;
