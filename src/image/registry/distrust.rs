//! Which hosts gave the bytes of a blob, and which are not asked any more because theirs were wrong.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::endpoint::Endpoint;

/// Hosts that gave bytes of one blob.
#[derive(Debug, Clone, Default)]
pub struct Givers(Arc<Mutex<BTreeMap<String, bool>>>);

/// Hosts that are not asked for a blob.
#[derive(Debug, Clone, Default)]
pub struct Distrust(Vec<String>);

impl Givers {
    /// Notes a host that gives bytes.
    pub(super) fn add(&self, endpoint: &Endpoint) {
        self.lock().insert(endpoint.host().to_owned(), endpoint.upstream);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, bool>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Givers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lock().keys().map(String::as_str).collect::<Vec<_>>().join(", "))
    }
}

impl Distrust {
    /// Distrusts hosts that together gave wrong bytes: the registry itself only if no mirror was involved. Tells whether
    /// that is anybody new.
    pub fn extend(&mut self, givers: &Givers) -> bool {
        let givers = givers.lock();
        let any_mirror = givers.values().any(|upstream| !upstream);
        let blamed = givers.iter().filter(|(_, upstream)| !**upstream || !any_mirror).map(|(host, _)| host);
        let before = self.0.len();
        let new: Vec<_> = blamed.filter(|host| !self.0.contains(host)).cloned().collect();
        self.0.extend(new);
        self.0.len() > before
    }

    /// Whether a host may be asked.
    pub(super) fn allows(&self, endpoint: &Endpoint) -> bool {
        !self.0.iter().any(|host| host == endpoint.host())
    }
}
