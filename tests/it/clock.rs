//! The host's clock is set while pods run.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use berth::wire::{ContainerState, PodSandboxState};
use nix::{
    sys::time::TimeSpec,
    time::{ClockId, clock_settime},
};

use crate::support::{Daemon, pod, shell};

const YEAR: Duration = Duration::from_secs(365 * 86_400);

fn set(now: SystemTime) {
    let since = now.duration_since(UNIX_EPOCH).expect("after 1970");
    clock_settime(ClockId::CLOCK_REALTIME, TimeSpec::from_duration(since)).expect("set the clock");
}

#[tokio::test]
async fn nothing_waits_or_ends_because_the_clock_jumps() {
    requires!(Root, OwnClock);
    let mut daemon = Daemon::start().await;
    let (_, first) = daemon.run_sleeper().await;
    let year = |years: u32, back: bool| {
        let now = SystemTime::now();
        set(if back { now - YEAR * years } else { now + YEAR * years });
    };
    for (back, name) in [(true, "earlier"), (false, "later"), (false, "much-later")] {
        year(5, back);
        let config = pod(&daemon, name);
        let other = daemon.run_pod(&config).await;
        // Ignores its stop signal: it ends by the grace's end alone.
        let id = daemon.run(&other, &shell("c", "trap '' TERM; while :; do sleep 0.1; done"), &config).await;
        assert_eq!(daemon.exec(&first, &["echo", "word"]).await, "word");
        // In the midst of a command's timeout, and of a grace.
        let (timed_out, ()) = tokio::join!(daemon.try_exec(&first, &["sleep", "1000"], 3), async { year(1, !back) });
        assert_eq!(timed_out.expect_err("a command without an end").code(), tonic::Code::DeadlineExceeded);
        tokio::join!(daemon.stop(&id, 2), async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            year(1, back);
        });
        let status = daemon.status(&id).await;
        assert_eq!((status.state(), status.exit_code), (ContainerState::ContainerExited, 137), "{name}");
        daemon.kill();
        daemon.start_again().await;
        assert_eq!(daemon.status(&first).await.state(), ContainerState::ContainerRunning, "{name}");
        assert_eq!(daemon.pod_status(&other).await.state(), PodSandboxState::SandboxReady, "{name}");
        daemon.remove_pod(&other).await;
    }
}
