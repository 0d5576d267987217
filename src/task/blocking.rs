use std::sync::LazyLock;

use tokio::sync::Semaphore;

/// How many pieces of blocking work run at once. More would only queue in the kernel, and a stuck disk must not eat
/// the runtime's whole thread pool.
const AT_ONCE: usize = 64;

static PERMITS: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(AT_ONCE));

/// Runs blocking work (file system, system calls that may sleep) on a thread made for it and waits for its result.
/// The work runs to its end even when the caller goes away.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    // The semaphore is never closed, so this fails never.
    let _permit = PERMITS.acquire().await;
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Cancelled before it ran: the runtime is shutting down, and with it whoever waits here.
            Err(_) => std::future::pending().await,
        },
    }
}
