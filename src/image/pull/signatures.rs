//! Signatures of an image on its way in, where cosign puts them: beside the image, under a tag made of its digest.

use serde::Deserialize;

use super::Source;
use crate::{
    error::{Classify as _, Kind},
    image::{
        Error,
        registry::Descriptor,
        trust::{Demands, Signature},
    },
    task,
    types::{Digest, Reference},
};

/// Media type of what a signature signs.
const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// Annotation with the signature itself.
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// Signatures of one digest that are looked at.
const MAX_SIGNATURES: usize = 64;
/// Longest text that a signature may sign, bytes; they have some hundreds.
const MAX_PAYLOAD: u64 = 64 << 10;

/// A manifest whose layers are signatures.
#[derive(Deserialize)]
struct SignatureManifest {
    #[serde(default)]
    layers: Vec<Descriptor>,
}

impl Source {
    /// Gets the signatures that meet the demands, of the digests in this order. None if none are needed.
    pub(super) async fn signatures(&self, demands: &Demands, digests: &[Digest]) -> Result<Vec<Signature>, Error> {
        let mut found = Vec::new();
        let mut verdict = judge(demands, digests, &found).await;
        if demands.need_signatures() {
            for digest in digests {
                found.extend(self.signatures_of(*digest).await?);
                verdict = judge(demands, digests, &found).await;
                if verdict.is_ok() {
                    break;
                }
            }
        }
        verdict
    }

    async fn signatures_of(&self, digest: Digest) -> Result<Vec<Signature>, Error> {
        let name: Reference = format!("{}:sha256-{}.sig", self.reference.name(), digest.hex()).parse()?;
        let manifest = match self.store.client.resolve(&name, self.auth()).await {
            Err(error) if error.kind() == Kind::NotFound => return Ok(Vec::new()),
            resolved => resolved?,
        };
        let malformed = |source| Error::Document { what: "manifest of signatures", digest: manifest.digest, source };
        let SignatureManifest { layers } = serde_json::from_slice(&manifest.bytes).map_err(malformed)?;
        let is_one = |layer: &Descriptor| layer.media_type == SIMPLE_SIGNING && layer.size <= MAX_PAYLOAD;
        let mut signatures = Vec::new();
        for mut layer in layers.into_iter().filter(is_one).take(MAX_SIGNATURES) {
            let Some(signature) = layer.annotations.remove(SIGNATURE) else { continue };
            // What is no text is nothing that can be read.
            if let Ok(payload) = String::from_utf8(self.document(&layer).await?) {
                signatures.push(Signature { payload, signature });
            }
        }
        Ok(signatures)
    }
}

/// Judges on a thread for that: verifying takes its time.
pub(super) async fn judge(
    demands: &Demands,
    digests: &[Digest],
    signatures: &[Signature],
) -> Result<Vec<Signature>, Error> {
    let (demands, digests, signatures) = (demands.clone(), digests.to_vec(), signatures.to_vec());
    Ok(task::blocking(move || demands.judge(&digests, &signatures)).await?)
}
