use std::{
    collections::HashMap,
    future::Future,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

/// Operations that go on when their caller leaves and that a caller with the same key joins.
///
/// kubelet gives up on a slow request and sends it again; the second request must get the first one's result, not a
/// complaint that its name is taken. What has ended is forgotten: whoever asks then finds what was made.
#[derive(Debug)]
pub struct Joint<K, V, E>(Arc<Entries<K, V, E>>);

type Entries<K, V, E> = Mutex<Running<K, V, E>>;
type Running<K, V, E> = HashMap<K, watch::Receiver<Option<Result<V, E>>>>;

impl<K, V, E> Default for Joint<K, V, E> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K, V, E> Joint<K, V, E>
where
    K: Hash + Eq + Clone + Send + 'static,
    V: Clone + Send + Sync + 'static,
    E: Clone + Send + Sync + 'static,
{
    /// Starts `work` under `key`, or joins the work that runs under it, and waits for the result. `None` when the
    /// work panicked.
    pub async fn run<F>(&self, key: K, work: impl FnOnce() -> F) -> Option<Result<V, E>>
    where
        F: Future<Output = Result<V, E>> + Send + 'static,
    {
        let mut receiver = self.join_or_start(&key, work);
        receiver.wait_for(Option::is_some).await.ok().and_then(|value| value.clone())
    }

    fn join_or_start<F>(&self, key: &K, work: impl FnOnce() -> F) -> watch::Receiver<Option<Result<V, E>>>
    where
        F: Future<Output = Result<V, E>> + Send + 'static,
    {
        let mut entries = lock(&self.0);
        // A sender that is gone without a result has panicked.
        if let Some(receiver) = entries.get(key).filter(|receiver| receiver.has_changed().is_ok()) {
            return receiver.clone();
        }
        let (sender, receiver) = watch::channel(None);
        entries.insert(key.clone(), receiver.clone());
        let (work, entries, key) = (work(), Arc::clone(&self.0), key.clone());
        tokio::spawn(async move {
            let result = work.await;
            lock(&entries).remove(&key);
            sender.send_replace(Some(result));
        });
        receiver
    }
}

fn lock<K, V, E>(entries: &Entries<K, V, E>) -> MutexGuard<'_, Running<K, V, E>> {
    entries.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures_util::FutureExt as _;
    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn the_work_outlives_its_caller_and_the_retry_gets_its_result() {
        let joint = Joint::<_, _, ()>::default();
        let (runs, go) = (Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
        let work = || {
            let (runs, go) = (Arc::clone(&runs), Arc::clone(&go));
            async move {
                runs.fetch_add(1, Ordering::SeqCst);
                go.notified().await;
                Ok(runs.load(Ordering::SeqCst))
            }
        };
        assert!(joint.run("pod", work).now_or_never().is_none(), "the caller gives up");
        tokio::task::yield_now().await;
        let retry = joint.run("pod", work);
        tokio::pin!(retry);
        assert!((&mut retry).now_or_never().is_none(), "it waits");
        go.notify_one();
        assert_eq!(retry.await, Some(Ok(1)), "the retry joins the first run");
        go.notify_one();
        assert_eq!(joint.run("pod", work).await, Some(Ok(2)), "a result is not kept");
    }

    #[tokio::test]
    async fn a_failure_that_nobody_heard_is_tried_anew() {
        let joint = Joint::<_, u32, &str>::default();
        assert!(joint.run("pod", || async { Err("full") }).now_or_never().is_none());
        tokio::task::yield_now().await;
        assert_eq!(joint.run("pod", || async { Ok(1) }).await, Some(Ok(1)));
    }
}
