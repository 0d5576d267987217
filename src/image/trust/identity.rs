//! What a signature has to say that the image is called.

use std::fmt;

use crate::types::Reference;

/// How the name in a signature has to fit the name under which an image is used, `signedIdentity` of
/// containers-policy.json(5).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum SignedIdentity {
    /// The same repository if the image is named by its digest, which no registry can change, or else the same name.
    #[default]
    RepositoryForDigestOrExact,
    /// The same name.
    Exact,
    /// The same repository.
    Repository,
    /// This name, whatever the image is called.
    ExactReference(Box<SignedName>),
    /// This repository, whatever the image is called.
    ExactRepository(String),
}

/// The name in a signature. One without tag and digest names a repository, and not its `latest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SignedName {
    reference: Reference,
    is_repository: bool,
}

impl SignedName {
    /// Reads a name; `None` if it is none.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let reference = text.parse().ok()?;
        let last = text.rsplit('/').next().unwrap_or_default();
        Some(Self { reference, is_repository: !last.contains([':', '@']) })
    }

    /// Whether it names a repository only.
    pub(super) fn is_repository(&self) -> bool {
        self.is_repository
    }

    /// The repository, with its registry.
    pub(super) fn repository(&self) -> String {
        self.reference.name()
    }

    fn is_exactly(&self, reference: &Reference) -> bool {
        !self.is_repository && self.reference == *reference
    }
}

impl fmt::Display for SignedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_repository { f.write_str(&self.repository()) } else { self.reference.fmt(f) }
    }
}

impl SignedIdentity {
    /// Whether an image that was signed under one name may be used under another.
    pub(super) fn accepts(&self, signed: &SignedName, used: &Reference) -> bool {
        match self {
            Self::RepositoryForDigestOrExact if used.digest().is_some() => signed.repository() == used.name(),
            Self::RepositoryForDigestOrExact | Self::Exact => signed.is_exactly(used),
            Self::Repository => signed.repository() == used.name(),
            Self::ExactReference(name) => signed.is_exactly(&name.reference),
            Self::ExactRepository(name) => signed.repository() == *name,
        }
    }
}
