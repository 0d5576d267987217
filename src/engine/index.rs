use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Arc, PoisonError, RwLock},
};

use crate::types::Id;

/// Objects by id, found by their whole id or the beginning of it.
#[derive(Debug)]
pub(super) struct Index<T>(RwLock<BTreeMap<Arc<str>, Arc<T>>>);

impl<T> Default for Index<T> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

/// What a search by the beginning of an id found.
#[derive(Debug)]
pub(super) enum Found<T> {
    One(Arc<T>),
    None,
    Many,
}

impl<T> Index<T> {
    pub(super) fn insert(&self, id: &Id, object: Arc<T>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(id.as_str().into(), object);
    }

    pub(super) fn remove(&self, id: &Id) -> Option<Arc<T>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(id.as_str())
    }

    /// The object with exactly this id.
    pub(super) fn get(&self, id: &Id) -> Option<Arc<T>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(id.as_str()).cloned()
    }

    /// The object whose id is `text` or, if only one, begins with it. An empty text finds nothing.
    pub(super) fn find(&self, text: &str) -> Found<T> {
        if text.is_empty() {
            return Found::None;
        }
        let objects = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut matches = objects
            .range::<str, _>((Bound::Included(text), Bound::Unbounded))
            .take_while(|(id, _)| id.starts_with(text))
            .map(|(_, object)| object);
        match (matches.next(), matches.next()) {
            (Some(object), None) => Found::One(Arc::clone(object)),
            (None, _) => Found::None,
            _ => Found::Many,
        }
    }

    /// All objects, in the order of their ids.
    pub(super) fn all(&self) -> Vec<Arc<T>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// How many objects there are.
    pub(super) fn len(&self) -> usize {
        self.0.read().unwrap_or_else(PoisonError::into_inner).len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_of_an_id_finds_it_unless_two_begin_so() {
        let index = Index::default();
        for byte in [0xab, 0xac, 0xff] {
            index.insert(&Id::from_bytes([byte; 32]), Arc::new(byte));
        }
        assert!(matches!(index.find("ab"), Found::One(byte) if *byte == 0xab));
        assert!(matches!(index.find("a"), Found::Many));
        assert!(matches!(index.find("0"), Found::None));
        assert!(matches!(index.find(""), Found::None));
        assert!(matches!(index.find("g"), Found::None));
    }
}
