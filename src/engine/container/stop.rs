//! StopContainer: the stop signal, a grace, SIGKILL. Nothing is locked while waiting.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::{sleep, timeout};

use super::{Container, Phase};
use crate::{
    engine::{Engine, Error},
    error::chain,
    fault,
    types::Signal,
};

/// How long a process may take to end after SIGKILL before the caller is told that it does not.
const KILL_PATIENCE: Duration = Duration::from_secs(30);
/// How long until SIGKILL is sent again; doubled each time.
const KILL_AGAIN: Duration = Duration::from_millis(500);
/// The longest grace that is meant; kubelet sends no longer ones.
const LONGEST_GRACE: Duration = Duration::from_secs(10 * 365 * 86_400);

impl Engine {
    /// Stops a container: its stop signal once, after `grace` SIGKILL. A further call sends no second signal and can
    /// only shorten the grace. A container that does not run, or is not there, is no error.
    ///
    /// # Errors
    /// `DeadlineExceeded` when the process does not even end after SIGKILL.
    pub async fn stop_container(self: &Arc<Self>, id: &str, grace: Duration) -> Result<(), Error> {
        let container = match self.find_container(id) {
            Ok(container) => container,
            Err(Error::NoContainer(_)) => return Ok(()),
            Err(error) => return Err(error),
        };
        if !matches!(container.phase(), Phase::Running { .. }) {
            return Ok(());
        }
        let kill_at = Instant::now() + grace.min(LONGEST_GRACE);
        if container.bring_kill_forward(kill_at) {
            let (engine, stopped) = (Arc::clone(self), Arc::clone(&container));
            self.tasks.spawn(async move { engine.run_stop(&stopped).await });
        }
        container.wait_past_kill().await
    }

    /// The one stop of a container, whoever and how many wait for it.
    async fn run_stop(&self, container: &Container) {
        let mut kill_at = container.kill_at.subscribe();
        if !grace_is_over(*kill_at.borrow()) {
            self.signal(container, container.stop_signal).await;
        }
        fault::point("container.stop.signalled");
        loop {
            let deadline = kill_at.borrow_and_update().unwrap_or_else(Instant::now);
            tokio::select! {
                () = container.ended() => return,
                () = tokio::time::sleep_until(deadline.into()) => break,
                _ = kill_at.changed() => {}
            }
        }
        self.kill_until_ended(container).await;
    }

    async fn kill_until_ended(&self, container: &Container) {
        let mut pause = KILL_AGAIN;
        while !container.phase().is_over() {
            self.kill_cgroup(container).await;
            tokio::select! {
                () = container.ended() => return,
                () = sleep(pause) => pause = (pause * 2).min(KILL_PATIENCE),
            }
        }
    }

    /// Kills a container and waits at most `patience` for its end. Does nothing when it does not run.
    pub(in crate::engine) async fn kill_and_wait(
        self: &Arc<Self>,
        container: &Arc<Container>,
        patience: Duration,
    ) -> Result<(), Error> {
        if !matches!(container.phase(), Phase::Running { .. }) {
            return Ok(());
        }
        if container.bring_kill_forward(Instant::now()) {
            let (engine, killed) = (Arc::clone(self), Arc::clone(container));
            self.tasks.spawn(async move { engine.run_stop(&killed).await });
        }
        timeout(patience, container.ended()).await.map_err(|_| container.unkillable(patience))
    }

    async fn signal(&self, container: &Container, signal: Signal) {
        let sent = match container.pod.monitor() {
            Ok(monitor) => monitor
                .kill(&container.id, signal)
                .await
                .map_err(|source| Error::monitor("signal", format!("container {}", container.id), source)),
            Err(Error::Monitor { .. }) => {
                let path = std::path::Path::new(&container.cgroup);
                self.signal_directly(container, signal).await.map_err(|source| Error::file("signal", path, source))
            }
            Err(error) => Err(error),
        };
        if let Err(error) = sent {
            tracing::warn!(container = %container.id, %signal, error = chain(&error), "a signal was not delivered");
        }
    }

    /// Kills all processes of a container, through its monitor or, where that is gone, directly.
    pub(in crate::engine) async fn kill_cgroup(&self, container: &Container) {
        if let Ok(monitor) = container.pod.monitor()
            && monitor.kill_all(&container.id).await.is_ok()
        {
            return;
        }
        self.remove_cgroup(&container.cgroup).await;
    }
}

impl Container {
    /// Sets the moment of SIGKILL, or brings it forward; `true` when no stop was under way before.
    fn bring_kill_forward(&self, at: Instant) -> bool {
        let mut first = false;
        self.kill_at.send_if_modified(|kill_at| {
            first = kill_at.is_none();
            let sooner = kill_at.is_none_or(|present| at < present);
            if sooner {
                *kill_at = Some(at);
            }
            sooner
        });
        first
    }

    /// Waits for the end, but not for ever once SIGKILL is due.
    async fn wait_past_kill(&self) -> Result<(), Error> {
        let mut kill_at = self.kill_at.subscribe();
        loop {
            let last = kill_at.borrow_and_update().unwrap_or_else(Instant::now) + KILL_PATIENCE;
            tokio::select! {
                () = self.ended() => return Ok(()),
                () = tokio::time::sleep_until(last.into()) => return Err(self.unkillable(KILL_PATIENCE)),
                _ = kill_at.changed() => {}
            }
        }
    }

    fn unkillable(&self, waited: Duration) -> Error {
        Error::Unkillable { container: self.id.clone(), seconds: waited.as_secs(), signal: Signal::KILL }
    }
}

fn grace_is_over(kill_at: Option<Instant>) -> bool {
    kill_at.is_some_and(|at| at <= Instant::now())
}
