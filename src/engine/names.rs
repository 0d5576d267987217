use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, PoisonError},
};

use super::Error;
use crate::types::{ContainerMetadata, Id, PodMetadata};

/// Who has which name. A name is held from before anything is made until everything is gone.
#[derive(Debug, Default)]
pub(super) struct Names(Arc<Mutex<HashMap<String, Id>>>);

/// A name held for something in the making; given back when dropped, unless it was kept.
#[derive(Debug)]
pub(super) struct Reservation {
    names: Arc<Mutex<HashMap<String, Id>>>,
    name: Option<String>,
}

/// `pod/<name>_<namespace>_<uid>_<attempt>`
pub(super) fn of_pod(metadata: &PodMetadata) -> String {
    let PodMetadata { name, uid, namespace, attempt } = metadata;
    format!("pod/{name}_{namespace}_{uid}_{attempt}")
}

/// `container/<name>_<attempt>_<pod id>`
pub(super) fn of_container(metadata: &ContainerMetadata, pod: &Id) -> String {
    format!("container/{}_{}_{pod}", metadata.name, metadata.attempt)
}

impl Names {
    /// Holds `name` for `id`.
    pub(super) fn reserve(&self, name: String, id: &Id) -> Result<Reservation, Error> {
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(name.clone()) {
            Entry::Occupied(taken) => Err(Error::NameTaken { name, holder: taken.get().clone() }),
            Entry::Vacant(free) => {
                free.insert(id.clone());
                Ok(Reservation { names: Arc::clone(&self.0), name: Some(name) })
            }
        }
    }

    pub(super) fn release(&self, name: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}

impl Reservation {
    /// Keeps the name until [`Names::release`].
    pub(super) fn keep(mut self) {
        self.name = None;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            self.names.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_held_by_one_and_comes_back_when_the_making_fails() {
        let names = Names::default();
        let (first, second) = (Id::from_bytes([1; 32]), Id::from_bytes([2; 32]));
        let making = names.reserve("pod/a".into(), &first).unwrap();
        assert!(
            matches!(names.reserve("pod/a".into(), &second), Err(Error::NameTaken { holder, .. }) if holder == first)
        );
        drop(making);
        names.reserve("pod/a".into(), &second).unwrap().keep();
        assert!(names.reserve("pod/a".into(), &first).is_err());
        names.release("pod/a");
        assert!(names.reserve("pod/a".into(), &first).is_ok());
    }
}
