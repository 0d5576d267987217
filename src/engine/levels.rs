//! SELinux levels: one for each pod, shared by its containers.

use std::sync::{Arc, PoisonError};

use super::{Engine, Error};
use crate::runtime::PlanError;

impl Engine {
    /// A level that no other pod has; empty where SELinux is off.
    pub(super) fn take_level(&self) -> Result<String, Error> {
        if !self.parts.host.selinux {
            return Ok(String::new());
        }
        let level = self.levels.lock().unwrap_or_else(PoisonError::into_inner).allocate();
        level.map_err(|source| Error::Plan {
            object: "the pod's SELinux level".to_owned(),
            source: Arc::new(PlanError::Label(source)),
        })
    }

    /// Notes the level of a pod that was there before the daemon.
    pub(super) fn reserve_level(&self, level: &str) {
        if !level.is_empty() {
            self.levels.lock().unwrap_or_else(PoisonError::into_inner).reserve(level);
        }
    }

    pub(super) fn release_level(&self, level: &str) {
        if !level.is_empty() {
            self.levels.lock().unwrap_or_else(PoisonError::into_inner).release(level);
        }
    }
}
