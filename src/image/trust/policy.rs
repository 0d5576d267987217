//! The policy's file: JSON of the form that containers-policy.json(5) describes.
//!
//! Of its transports, `docker` is what images are pulled through here; the others are ways to get at images that other
//! tools have. What of the form is not done is an error, for a demand that is not understood is not met.

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor},
};

use super::{
    Demands, PolicyError,
    identity::{SignedIdentity, SignedName},
    key::PublicKey,
};
use crate::types::Reference;

/// The transport whose scopes are registries and what is in them.
const REGISTRIES: &str = "docker";
/// Ways in that are there, and that a policy may speak of as if they were judged by themselves.
const ARCHIVES: [&str; 2] = ["docker-archive", "oci-archive"];

/// A policy.
#[derive(Debug)]
pub(in crate::image) struct Policy {
    default: Vec<Requirement>,
    /// By registry, repository or part of its path, image, or `*.domain`.
    scopes: BTreeMap<String, Vec<Requirement>>,
}

/// One thing that is demanded of images.
#[derive(Debug, Clone)]
pub(super) enum Requirement {
    /// Nothing.
    Accept,
    /// What no image can meet.
    Reject,
    /// A signature by one of these keys.
    Signed {
        /// The keys.
        keys: Vec<PublicKey>,
        /// What the signature has to say.
        identity: SignedIdentity,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    default: Vec<WrittenRequirement>,
    #[serde(default)]
    transports: Unique<Unique<Vec<WrittenRequirement>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenRequirement {
    r#type: String,
    key_path: Option<PathBuf>,
    key_paths: Option<Vec<PathBuf>>,
    key_data: Option<String>,
    key_datas: Option<Vec<String>>,
    signed_identity: Option<WrittenIdentity>,
    #[serde(flatten)]
    others: BTreeMap<String, serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenIdentity {
    r#type: String,
    docker_reference: Option<String>,
    docker_repository: Option<String>,
    #[serde(flatten)]
    others: BTreeMap<String, serde_json::Value>,
}

impl Policy {
    /// Reads a policy and the keys that it names. Blocking.
    ///
    /// # Errors
    /// When something in it cannot be read or is not done here.
    pub(in crate::image) fn read(path: &Path) -> Result<Self, PolicyError> {
        let text = fs::read(path).map_err(|source| PolicyError::Read { path: path.to_owned(), source })?;
        let file: File =
            serde_json::from_slice(&text).map_err(|source| PolicyError::Malformed { path: path.to_owned(), source })?;
        let unusable = |scope: &str, reason: String| PolicyError::Unusable {
            path: path.to_owned(),
            scope: scope.to_owned(),
            reason,
        };
        let requirements = |scope: &str, written: Vec<WrittenRequirement>| {
            if written.is_empty() {
                return Err(unusable(scope, "it demands nothing; `insecureAcceptAnything` would say so".to_owned()));
            }
            let read = written.into_iter().map(WrittenRequirement::read);
            read.collect::<Result<Vec<_>, _>>().map_err(|reason| unusable(scope, reason))
        };
        let default = requirements("default", file.default)?;
        let mut scopes = BTreeMap::new();
        for (transport, written) in file.transports.0 {
            if ARCHIVES.contains(&transport.as_str()) {
                let reason = format!("images from archives are judged by their names, as those of {REGISTRIES:?} are");
                return Err(unusable(&transport, reason));
            }
            if transport != REGISTRIES {
                continue;
            }
            for (scope, written) in written.0 {
                check_scope(&scope).map_err(|reason| unusable(&scope, reason.to_owned()))?;
                let requirements = requirements(&scope, written)?;
                scopes.insert(scope, requirements);
            }
        }
        Ok(Self { default, scopes })
    }

    /// What is demanded of an image that is used under a name: what the narrowest scope says that the name is in.
    pub(in crate::image) fn demands(&self, image: &Reference) -> Demands {
        let found = scopes_of(image).into_iter().find_map(|scope| self.scopes.get_key_value(&scope));
        let (scope, requirements) = match found {
            Some((scope, requirements)) => (scope.clone(), requirements),
            None => ("default".to_owned(), &self.default),
        };
        Demands { image: image.clone(), scope, requirements: requirements.clone() }
    }

    /// Whether images may be used that have no name to judge them by.
    pub(in crate::image) fn accepts_nameless(&self) -> bool {
        let requirements = self.scopes.get("").unwrap_or(&self.default);
        requirements.iter().all(|requirement| matches!(requirement, Requirement::Accept))
    }
}

/// The scopes that a name is in, the narrowest first: the image, its repository, parts of the path, the registry,
/// wildcards for parts of the registry's domain, everything.
fn scopes_of(image: &Reference) -> Vec<String> {
    let mut scopes: Vec<_> = image.digest().map(|digest| image.pinned(digest).to_string()).into_iter().collect();
    scopes.extend(image.tagged());
    let mut path = image.name();
    loop {
        scopes.push(path.clone());
        let Some((parent, _)) = path.rsplit_once('/') else { break };
        path = parent.to_owned();
    }
    let mut domain = image.domain();
    while let Some((_, parent)) = domain.split_once('.') {
        scopes.push(format!("*.{parent}"));
        domain = parent;
    }
    scopes.push(String::new());
    scopes
}

/// Finds what can never be the scope of an image, for that is a mistake.
fn check_scope(scope: &str) -> Result<(), &'static str> {
    if scope.contains("://") || scope.contains(char::is_whitespace) || scope.ends_with('/') || scope.starts_with('/') {
        return Err(
            "a scope is a registry, a repository or an image, or `*.` and a domain; without scheme and final `/`",
        );
    }
    match scope.strip_prefix("*.") {
        Some(domain) if domain.is_empty() || domain.contains(['*', '/']) => Err("only a domain may follow the `*.`"),
        None if scope.contains('*') => Err("a `*` stands at the beginning, before a `.` and a domain"),
        _ => Ok(()),
    }
}

impl WrittenRequirement {
    fn read(self) -> Result<Requirement, String> {
        let keys =
            [self.key_path.is_some(), self.key_paths.is_some(), self.key_data.is_some(), self.key_datas.is_some()];
        let given = keys.iter().filter(|given| **given).count();
        match self.r#type.as_str() {
            "insecureAcceptAnything" | "reject" if given > 0 || self.signed_identity.is_some() => {
                return Err(format!("{:?} has no other fields", self.r#type));
            }
            "insecureAcceptAnything" | "reject" | "sigstoreSigned" => {}
            other => return Err(format!("requirements of type {other:?} are not supported")),
        }
        if let Some(field) = self.others.keys().next() {
            return Err(format!("{field:?} is not supported for {:?}", self.r#type));
        }
        match self.r#type.as_str() {
            "insecureAcceptAnything" => return Ok(Requirement::Accept),
            "reject" => return Ok(Requirement::Reject),
            _ if given != 1 => {
                return Err("one of keyPath, keyPaths, keyData and keyDatas has to be given".to_owned());
            }
            _ => {}
        }
        let mut keys = Vec::new();
        for path in self.key_path.into_iter().chain(self.key_paths.into_iter().flatten()) {
            keys.push(key_in_file(&path).map_err(|reason| format!("key {}: {reason}", path.display()))?);
        }
        for data in self.key_data.into_iter().chain(self.key_datas.into_iter().flatten()) {
            let pem = STANDARD.decode(data).map_err(|_| "key data is not base64".to_owned())?;
            keys.push(PublicKey::from_pem(&pem).map_err(|reason| format!("key data: {reason}"))?);
        }
        if keys.is_empty() {
            return Err("there is no key".to_owned());
        }
        let identity = self.signed_identity.map(WrittenIdentity::read).transpose()?.unwrap_or_default();
        Ok(Requirement::Signed { keys, identity })
    }
}

fn key_in_file(path: &Path) -> Result<PublicKey, String> {
    if !path.is_absolute() {
        return Err("its path is not absolute".to_owned());
    }
    let pem = fs::read(path).map_err(|error| error.to_string())?;
    PublicKey::from_pem(&pem).map_err(str::to_owned)
}

impl WrittenIdentity {
    fn read(self) -> Result<SignedIdentity, String> {
        if let Some(field) = self.others.keys().next() {
            return Err(format!("{field:?} of signedIdentity is not supported"));
        }
        let malformed = |name: &str| format!("signedIdentity is malformed: {name:?}");
        match (self.r#type.as_str(), self.docker_reference, self.docker_repository) {
            ("matchRepoDigestOrExact", None, None) => Ok(SignedIdentity::RepositoryForDigestOrExact),
            ("matchExact", None, None) => Ok(SignedIdentity::Exact),
            ("matchRepository", None, None) => Ok(SignedIdentity::Repository),
            ("exactReference", Some(text), None) => {
                let name = SignedName::parse(&text).filter(|name| !name.is_repository());
                Ok(SignedIdentity::ExactReference(Box::new(name.ok_or_else(|| malformed(&text))?)))
            }
            ("exactRepository", None, Some(text)) => {
                let name = SignedName::parse(&text).filter(SignedName::is_repository);
                Ok(SignedIdentity::ExactRepository(name.ok_or_else(|| malformed(&text))?.repository()))
            }
            (kind, ..) => Err(format!("signedIdentity of type {kind:?} with these fields is not supported")),
        }
    }
}

/// A JSON object in which no name stands twice: of two demands, none may be lost.
struct Unique<T>(BTreeMap<String, T>);

impl<T> Default for Unique<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Unique<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<T>(std::marker::PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
            type Value = Unique<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unique<T>, A::Error> {
                let mut entries = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, T>()? {
                    if entries.contains_key(&name) {
                        return Err(A::Error::custom(format!("{name:?} stands there twice")));
                    }
                    entries.insert(name, value);
                }
                Ok(Unique(entries))
            }
        }

        deserializer.deserialize_map(Entries(std::marker::PhantomData))
    }
}
