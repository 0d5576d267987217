//! Whether an image of the store may be used, by the signature policy as it is now.

use std::sync::Arc;

use super::{
    Error, Image, Store,
    record::Record,
    trust::{Demands, Policy, Untrusted},
};
use crate::{task, types::Reference};

impl Store {
    /// Asks the signature policy whether an image may be used under a name. What is not one of the image's names leaves
    /// open which is meant: then it may be used if it might under one of them. Signatures that the image's pull brought
    /// are judged again; none are fetched.
    ///
    /// # Errors
    /// When it may not, or the policy cannot be used.
    pub async fn admit(self: &Arc<Self>, image: &Image, name: &str) -> Result<(), Error> {
        let Some(policy) = self.policy().await? else { return Ok(()) };
        let record = self.record(image)?;
        // Signatures are verified on a thread for that: it takes longer than anything else here.
        let name = name.to_owned();
        Ok(task::blocking(move || admit(&policy, &record, &name)).await?)
    }

    /// What the policy demands of an image under a name; `None` if there is no policy.
    pub(super) async fn demands(&self, image: &Reference) -> Result<Option<Demands>, Error> {
        Ok(self.policy().await?.map(|policy| policy.demands(image)))
    }

    /// The policy as it is now.
    async fn policy(&self) -> Result<Option<Policy>, Error> {
        let Some(path) = self.config.signature_policy.clone() else { return Ok(None) };
        Ok(Some(task::blocking(move || Policy::read(&path)).await?))
    }
}

fn admit(policy: &Policy, record: &Record, name: &str) -> Result<(), Untrusted> {
    let manifests = record.manifests();
    let judge = |name: &Reference| policy.demands(name).judge(&manifests, &record.signatures).map(drop);
    let names = || record.tags.iter().chain(&record.digests).filter_map(|name| name.parse::<Reference>().ok());
    if let Ok(meant) = name.parse::<Reference>()
        && names().any(|name| stands_for(&name, &meant))
    {
        return judge(&meant);
    }
    let mut refusal = None;
    for name in names() {
        match judge(&name) {
            Ok(()) => return Ok(()),
            Err(refused) => refusal = Some(refused),
        }
    }
    match refusal {
        Some(refusal) => Err(refusal),
        None if policy.accepts_nameless() => Ok(()),
        None => {
            let reason = "it has no name, and the signature policy does not accept just anything".to_owned();
            Err(Untrusted { image: record.id.to_string(), reason })
        }
    }
}

/// Whether a name of the image is what somebody means who says `meant`; beside a digest, a tag says nothing.
fn stands_for(name: &Reference, meant: &Reference) -> bool {
    match meant.digest() {
        Some(digest) => *name == meant.pinned(digest),
        None => name == meant,
    }
}
