//! Signatures: a text that says which image is meant, and who signed that text.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use super::{identity::SignedName, key::PublicKey};
use crate::types::Digest;

/// What the text of a cosign signature says that it is.
const KIND: &str = "cosign container image signature";

/// A signature as it is found beside an image, and as it is kept with it. It may be anybody's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::image) struct Signature {
    /// The text that was signed, "simple signing" of containers-signature(5).
    pub(in crate::image) payload: String,
    /// The signature over it, in base64.
    pub(in crate::image) signature: String,
}

/// What somebody has signed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Claim {
    /// The manifest or index that is meant.
    pub(super) digest: Digest,
    /// What it is called.
    pub(super) name: SignedName,
}

/// The text. Whatever is critical and not understood makes it worthless.
#[derive(Deserialize)]
struct Payload {
    critical: Critical,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Critical {
    r#type: String,
    image: SignedImage,
    identity: SignedIdentity,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct SignedImage {
    docker_manifest_digest: Digest,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct SignedIdentity {
    docker_reference: String,
}

impl Signature {
    /// What was signed by the owner of one of the keys. The error says why nothing was.
    pub(super) fn claim(&self, keys: &[PublicKey]) -> Result<Claim, String> {
        let signature = STANDARD.decode(self.signature.trim()).map_err(|_| "it is not base64")?;
        // Nothing is read that has not been verified.
        if !keys.iter().any(|key| key.verifies(self.payload.as_bytes(), &signature)) {
            return Err("it is not made with a key that the policy names, or what it signs was changed".to_owned());
        }
        let payload: Payload =
            serde_json::from_str(&self.payload).map_err(|error| format!("what it signs is malformed: {error}"))?;
        let Critical { r#type: kind, image, identity } = payload.critical;
        if kind != KIND {
            return Err(format!("it signs something else: {kind:?}"));
        }
        let name = SignedName::parse(&identity.docker_reference);
        let name = name.ok_or_else(|| format!("it names no image: {:?}", identity.docker_reference))?;
        Ok(Claim { digest: image.docker_manifest_digest, name })
    }
}
