use std::{
    collections::HashMap,
    future::Future,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;

/// Operations that go on when their caller leaves and that a caller with the same key joins.
///
/// kubelet gives up on a slow request and sends it again; the second request must get the first one's result, not a
/// complaint that its name is taken. A result that nobody was there to take is kept for whoever asks next.
#[derive(Debug)]
pub struct Joint<K, V> {
    entries: Arc<Mutex<HashMap<K, watch::Receiver<Option<V>>>>>,
}

impl<K, V> Default for Joint<K, V> {
    fn default() -> Self {
        Self { entries: Arc::default() }
    }
}

impl<K, V> Joint<K, V>
where
    K: Hash + Eq + Clone + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Starts `work` under `key`, or joins the work that runs under it, and waits for the result. `None` when the
    /// work panicked.
    pub async fn run<F>(&self, key: K, work: impl FnOnce() -> F) -> Option<V>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut receiver = self.join_or_start(&key, work);
        let value = receiver.wait_for(Option::is_some).await.ok().and_then(|value| value.clone());
        let mut entries = self.lock();
        if entries.get(&key).is_some_and(|current| current.same_channel(&receiver)) {
            entries.remove(&key);
        }
        drop(entries);
        value
    }

    /// Drops kept results that `stale` names.
    pub fn discard(&self, stale: impl Fn(&V) -> bool) {
        self.lock().retain(|_, receiver| !receiver.borrow().as_ref().is_some_and(&stale));
    }

    fn join_or_start<F>(&self, key: &K, work: impl FnOnce() -> F) -> watch::Receiver<Option<V>>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut entries = self.lock();
        if let Some(receiver) = entries.get(key)
            && (receiver.has_changed().is_ok() || receiver.borrow().is_some())
        {
            return receiver.clone();
        }
        let (sender, receiver) = watch::channel(None);
        entries.insert(key.clone(), receiver.clone());
        let work = work();
        tokio::spawn(async move {
            let value = work.await;
            sender.send_replace(Some(value));
        });
        receiver
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<K, watch::Receiver<Option<V>>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures_util::FutureExt as _;
    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn the_work_outlives_its_caller_and_the_retry_gets_its_result() {
        let joint = Joint::default();
        let (runs, go) = (Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
        let work = || {
            let (runs, go) = (Arc::clone(&runs), Arc::clone(&go));
            async move {
                runs.fetch_add(1, Ordering::SeqCst);
                go.notified().await;
                runs.load(Ordering::SeqCst)
            }
        };
        assert!(joint.run("pod", work).now_or_never().is_none(), "the caller gives up");
        tokio::task::yield_now().await;
        go.notify_one();
        tokio::task::yield_now().await;
        assert_eq!(joint.run("pod", work).await, Some(1), "the retry joins the first run");
        go.notify_one();
        assert_eq!(joint.run("pod", work).await, Some(2), "a delivered result is not kept");
    }
}
