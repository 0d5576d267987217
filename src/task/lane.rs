use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::blocking::on_a_thread;

/// Blocking work of one kind that may wait for a peer as long as that likes, and so has slots of its own: peers that
/// do nothing hold up their like, and never the work that waits for this host alone.
#[derive(Debug)]
pub struct Lane(Arc<Semaphore>);

impl Lane {
    /// Makes a lane with this many slots.
    pub fn new(slots: usize) -> Self {
        Self(Arc::new(Semaphore::new(slots)))
    }

    /// Waits for a free slot.
    pub async fn enter(&self) -> Slot {
        Slot::of(Arc::clone(&self.0)).await
    }

    /// Runs one piece of work in a slot.
    pub async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        self.enter().await.blocking(work).await
    }

    /// Whether all slots are taken.
    #[cfg(test)]
    pub fn is_full(&self) -> bool {
        self.0.available_permits() == 0
    }
}

/// A slot of a lane, free again when all its clones are dropped and the work in it has ended.
#[derive(Debug, Clone)]
pub struct Slot {
    _permit: Arc<Option<OwnedSemaphorePermit>>,
}

impl Slot {
    async fn of(semaphore: Arc<Semaphore>) -> Self {
        // The semaphore is never closed, so there is always a permit in the end.
        Self { _permit: Arc::new(semaphore.acquire_owned().await.ok()) }
    }

    /// Runs blocking work on a thread made for it and waits for its result. The work runs to its end, and keeps the
    /// slot, even when the caller goes away.
    pub async fn blocking<T: Send + 'static>(self, work: impl FnOnce() -> T + Send + 'static) -> T {
        on_a_thread(move || {
            let _slot = self;
            work()
        })
        .await
    }
}

/// One lane for each key, made when it is first needed and gone with the last of its slots.
#[derive(Debug)]
pub struct KeyedLanes<K> {
    slots: usize,
    lanes: Mutex<HashMap<K, Weak<Semaphore>>>,
}

impl<K: Hash + Eq + Clone> KeyedLanes<K> {
    /// Gives each key a lane with this many slots.
    pub fn new(slots: usize) -> Self {
        Self { slots, lanes: Mutex::default() }
    }

    /// Waits for a free slot in the lane of `key`.
    pub async fn enter(&self, key: &K) -> Slot {
        Slot::of(self.lane(key)).await
    }

    fn lane(&self, key: &K) -> Arc<Semaphore> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lane) = lanes.get(key).and_then(Weak::upgrade) {
            return lane;
        }
        lanes.retain(|_, lane| lane.strong_count() > 0);
        let lane = Arc::new(Semaphore::new(self.slots));
        lanes.insert(key.clone(), Arc::downgrade(&lane));
        lane
    }

    /// Whether all slots of a lane are taken.
    #[cfg(test)]
    pub fn is_full(&self, key: &K) -> bool {
        self.lane(key).available_permits() == 0
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use futures_util::FutureExt as _;

    use super::*;
    use crate::task::blocking;

    #[tokio::test]
    async fn stuck_work_keeps_its_slot_and_holds_up_nobody_elsewhere() {
        let (lane, other) = (Lane::new(2), Lane::new(1));
        let ends: Vec<_> = (0..2)
            .map(|_| {
                let (end, stuck) = mpsc::channel::<()>();
                let mut work = Box::pin(lane.blocking(move || stuck.recv()));
                assert!((&mut work).now_or_never().is_none(), "it has begun, and its caller goes away");
                end
            })
            .collect();
        assert!(lane.is_full() && lane.enter().now_or_never().is_none(), "the work still runs");
        assert_eq!((other.blocking(|| 1).await, blocking(|| 2).await), (1, 2));
        drop(ends);
        assert_eq!(lane.blocking(|| 3).await, 3);
    }

    #[tokio::test]
    async fn each_key_has_slots_of_its_own() {
        let lanes = KeyedLanes::new(2);
        let held = (lanes.enter(&"a").await, lanes.enter(&"a").await);
        assert!(lanes.enter(&"a").now_or_never().is_none() && lanes.is_full(&"a"));
        let _other = lanes.enter(&"b").await;
        drop(held);
        assert!(!lanes.is_full(&"a"));
        let _again = lanes.enter(&"a").await;
    }
}
