use std::time::Duration;

/// How long until something is tried again, at first; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// And at last, for as long as the daemon lives.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Tries something in the background until it says that it succeeded, with growing pauses, the first before the first
/// attempt. The daemon's own end does not wait for it.
pub fn retry<Attempt>(attempt: impl Fn() -> Attempt + Send + 'static)
where
    Attempt: Future<Output = bool> + Send,
{
    tokio::spawn(async move {
        let mut pause = FIRST_PAUSE;
        loop {
            tokio::time::sleep(pause).await;
            if attempt().await {
                return;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    });
}
