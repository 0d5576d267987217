//! The judgement.

use super::{Signature, Untrusted, identity::SignedIdentity, key::PublicKey, policy::Requirement};
use crate::types::{Digest, Reference};

/// Reasons that are told, of many signatures that do not count.
const MAX_REASONS: usize = 3;

/// What a policy demands of images that are used under one name.
#[derive(Debug, Clone)]
pub(in crate::image) struct Demands {
    /// The name.
    pub(super) image: Reference,
    /// The part of the policy that they come from.
    pub(super) scope: String,
    /// All of them have to be met.
    pub(super) requirements: Vec<Requirement>,
}

impl Demands {
    /// Whether signatures can make a difference.
    pub(in crate::image) fn need_signatures(&self) -> bool {
        self.requirements.iter().any(|requirement| matches!(requirement, Requirement::Signed { .. }))
    }

    /// Refuses what no signature can save.
    ///
    /// # Errors
    /// When all images under this name are refused.
    pub(in crate::image) fn rule_out(&self) -> Result<(), Untrusted> {
        match self.requirements.iter().any(|requirement| matches!(requirement, Requirement::Reject)) {
            true => Err(self.refusal(format!("the signature policy rejects all images in {:?}", self.scope))),
            false => Ok(()),
        }
    }

    /// Judges an image that goes by these digests: those of its manifest and of indexes that lead to it. Returns the
    /// signatures that counted.
    ///
    /// # Errors
    /// When a demand is not met.
    pub(in crate::image) fn judge(
        &self,
        digests: &[Digest],
        signatures: &[Signature],
    ) -> Result<Vec<Signature>, Untrusted> {
        self.rule_out()?;
        let mut counted = Vec::new();
        for requirement in &self.requirements {
            if let Requirement::Signed { keys, identity } = requirement {
                let signature = self.signed(keys, identity, digests, signatures)?;
                if !counted.contains(signature) {
                    counted.push(signature.clone());
                }
            }
        }
        Ok(counted)
    }

    /// Finds a signature that is as it should be.
    fn signed<'a>(
        &self,
        keys: &[PublicKey],
        identity: &SignedIdentity,
        digests: &[Digest],
        signatures: &'a [Signature],
    ) -> Result<&'a Signature, Untrusted> {
        let mut reasons = Vec::new();
        for signature in signatures {
            match self.fits(signature, keys, identity, digests) {
                Ok(()) => return Ok(signature),
                Err(reason) => reasons.push(reason),
            }
        }
        if reasons.is_empty() {
            return Err(self.refusal("it is not signed, and the signature policy wants it to be".to_owned()));
        }
        let count = reasons.len();
        reasons.truncate(MAX_REASONS);
        Err(self.refusal(format!("none of its {count} signatures counts: {}", reasons.join("; "))))
    }

    fn fits(
        &self,
        signature: &Signature,
        keys: &[PublicKey],
        identity: &SignedIdentity,
        digests: &[Digest],
    ) -> Result<(), String> {
        let claim = signature.claim(keys)?;
        if !digests.contains(&claim.digest) {
            return Err(format!("it is for another image, {}", claim.digest));
        }
        if identity.accepts(&claim.name, &self.image) {
            return Ok(());
        }
        let hint = if claim.name.is_repository() { " (see `matchRepository` of the policy)" } else { "" };
        Err(format!("the image was signed as {}{hint}", claim.name))
    }

    fn refusal(&self, reason: String) -> Untrusted {
        Untrusted { image: self.image.to_string(), reason }
    }
}
