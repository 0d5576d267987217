use std::{
    num::NonZero,
    sync::{Arc, LazyLock},
    thread,
};

use futures_util::future::join_all;
use tokio::sync::Semaphore;

/// How many pieces of blocking work run at once. More would only queue in the kernel, and a stuck disk must not eat
/// the runtime's whole thread pool.
const AT_ONCE: usize = 64;

static PERMITS: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(AT_ONCE));

/// Runs blocking work (file system, system calls that may sleep) on a thread made for it and waits for its result.
/// The work runs to its end even when the caller goes away. What may wait for a peer goes on a [`Lane`](super::Lane).
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    // The semaphore is never closed, so this fails never.
    let permit = PERMITS.acquire().await;
    on_a_thread(move || {
        let _permit = permit;
        work()
    })
    .await
}

/// Runs work on a thread made for it, however many there are.
pub(super) async fn on_a_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Cancelled before it ran: the runtime is shutting down, and with it whoever waits here.
            Err(_) => std::future::pending().await,
        },
    }
}

/// Does the same short blocking work on many objects: one share for each CPU, since handing a piece to a thread costs
/// more than most pieces. The results are in the order of the objects.
pub async fn blocking_each<T, R>(objects: Vec<T>, work: impl Fn(T) -> R + Send + Sync + 'static) -> Vec<R>
where
    T: Send + 'static,
    R: Send + 'static,
{
    let shares = thread::available_parallelism().map_or(1, NonZero::get);
    let size = objects.len().div_ceil(shares).max(1);
    let (work, mut objects) = (Arc::new(work), objects.into_iter());
    let mut jobs = Vec::new();
    while objects.len() > 0 {
        let (share, work) = (objects.by_ref().take(size).collect::<Vec<T>>(), Arc::clone(&work));
        jobs.push(blocking(move || share.into_iter().map(|object| work(object)).collect::<Vec<R>>()));
    }
    join_all(jobs).await.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_on_many_objects_is_shared_out_and_comes_back_in_order() {
        for count in [0, 1, 2, 3, 100] {
            let objects: Vec<u32> = (0..count).collect();
            let doubled = blocking_each(objects.clone(), |object| (object * 2, thread::current().id())).await;
            assert!(doubled.iter().map(|(value, _)| *value).eq(objects.iter().map(|object| object * 2)), "{doubled:?}");
            assert!(doubled.iter().all(|(_, thread)| *thread != thread::current().id()), "it blocked its caller");
        }
    }
}
