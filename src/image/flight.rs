//! Work that equal callers share and that stops when the last of them leaves.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, PoisonError},
};

use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Shared, WeakShared},
};

/// Work in progress by key, each with something `W` by which it can be watched.
///
/// Unlike [`crate::task::Joint`], nothing goes on here for callers that may come back: the work is a future that its
/// callers poll, and is dropped with the last of them.
pub(super) struct Flights<K, V: Clone, W> {
    running: Mutex<HashMap<K, Flight<V, W>>>,
}

/// Work in progress, and what it is watched by.
type Flight<V, W> = (WeakShared<BoxFuture<'static, V>>, W);

impl<K, V: Clone, W> Default for Flights<K, V, W> {
    fn default() -> Self {
        Self { running: Mutex::default() }
    }
}

impl<K, V: Clone, W> std::fmt::Debug for Flights<K, V, W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flights").finish_non_exhaustive()
    }
}

impl<K: Hash + Eq, V: Clone, W: Clone> Flights<K, V, W> {
    /// Joins the work that is running under `key`, or starts it. Gives what it is watched by, and its result.
    pub(super) fn join(
        &self,
        key: K,
        start: impl FnOnce() -> (BoxFuture<'static, V>, W),
    ) -> (Shared<BoxFuture<'static, V>>, W) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        // What has ended tells how things were before this caller came.
        let is_running = |work: &Shared<_>| work.peek().is_none();
        if let Some((work, watch)) = running.get(&key)
            && let Some(work) = work.upgrade().filter(is_running)
        {
            return (work, watch.clone());
        }
        running.retain(|_, (work, _)| work.upgrade().is_some());
        let (work, watch) = start();
        let work = work.shared();
        running.extend(work.downgrade().map(|weak| (key, (weak, watch.clone()))));
        (work, watch)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    use tokio::sync::Notify;

    use super::*;

    /// Counts what was started and what was dropped before its end.
    #[derive(Default)]
    struct Counts {
        started: AtomicU32,
        dropped: AtomicU32,
        go: Notify,
    }

    struct Guard(Arc<Counts>);

    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.dropped.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn work(counts: &Arc<Counts>) -> BoxFuture<'static, u32> {
        let counts = Arc::clone(counts);
        async move {
            let number = counts.started.fetch_add(1, Ordering::SeqCst);
            let guard = Guard(Arc::clone(&counts));
            counts.go.notified().await;
            std::mem::forget(guard);
            number
        }
        .boxed()
    }

    #[tokio::test]
    async fn equal_callers_share_and_the_last_one_to_leave_stops_the_work() {
        let (flights, counts) = (Flights::default(), Arc::new(Counts::default()));
        let (mut first, number) = flights.join("a", || (work(&counts), 1));
        let (mut second, same) = flights.join("a", || (work(&counts), 2));
        assert_eq!((number, same), (1, 1), "both watch the same work");
        assert!((&mut first).now_or_never().is_none() && (&mut second).now_or_never().is_none());
        drop(first);
        assert!((&mut second).now_or_never().is_none(), "one caller is left");
        assert_eq!(counts.dropped.load(Ordering::SeqCst), 0);
        counts.go.notify_one();
        assert_eq!(second.await, 0);

        let (mut third, _) = flights.join("a", || (work(&counts), 3));
        assert!((&mut third).now_or_never().is_none());
        assert_eq!(counts.started.load(Ordering::SeqCst), 2, "a new caller starts anew");
        drop(third);
        assert_eq!(counts.dropped.load(Ordering::SeqCst), 1, "nobody waits any more");
    }
}
