//! Fault points: the places between the steps of an operation, at which tests have the daemon die.
//!
//! Only a build with the feature `fault-points` has them. Then `BERTH_FAULT=NAME[:N]` kills the process the Nth time
//! that it comes to the point of that name, as `kill -9` would, and `BERTH_FAULT_LOG=FILE` writes down each point that
//! it comes to. `tests/faults` walks all of them. `BERTH_FAULT_PROTOCOLS=OLDEST-NEWEST` has the process, and the monitors
//! that it makes, speak these versions of their protocol instead of their own.

/// A place between two steps.
#[cfg(not(feature = "fault-points"))]
#[inline(always)]
pub fn point(_name: &'static str) {}

/// A place between two steps.
#[cfg(feature = "fault-points")]
pub fn point(name: &'static str) {
    armed::reached(name);
}

/// Versions of the monitors' protocol, the oldest and the newest, that a test wants spoken.
#[cfg(not(feature = "fault-points"))]
#[inline(always)]
pub fn protocols() -> Option<(u32, u32)> {
    None
}

/// Versions of the monitors' protocol, the oldest and the newest, that a test wants spoken.
#[cfg(feature = "fault-points")]
pub fn protocols() -> Option<(u32, u32)> {
    *armed::PROTOCOLS
}

/// What of its environment the daemon hands to the spawner, and so to monitors: nothing but faults.
#[cfg(not(feature = "fault-points"))]
#[inline(always)]
pub fn inherited() -> Option<(&'static str, String)> {
    None
}

/// What of its environment the daemon hands to the spawner, and so to monitors: nothing but faults.
#[cfg(feature = "fault-points")]
pub fn inherited() -> Option<(&'static str, String)> {
    protocols().map(|(oldest, newest)| (armed::PROTOCOLS_VARIABLE, format!("{oldest}-{newest}")))
}

#[cfg(feature = "fault-points")]
mod armed {
    use std::{
        env,
        fs::File,
        io::Write as _,
        sync::{
            LazyLock,
            atomic::{AtomicU32, Ordering},
        },
    };

    /// Where to die, and how often that place is passed before.
    static FAULT: LazyLock<Option<(String, AtomicU32)>> = LazyLock::new(|| {
        let text = env::var("BERTH_FAULT").ok()?;
        let (name, count) = text.split_once(':').unwrap_or((&text, "1"));
        Some((name.to_owned(), AtomicU32::new(count.parse().unwrap_or(1))))
    });

    pub(super) const PROTOCOLS_VARIABLE: &str = "BERTH_FAULT_PROTOCOLS";

    pub(super) static PROTOCOLS: LazyLock<Option<(u32, u32)>> = LazyLock::new(|| {
        let text = env::var(PROTOCOLS_VARIABLE).ok()?;
        let (oldest, newest) = text.split_once('-')?;
        Some((oldest.parse().ok()?, newest.parse().ok()?))
    });

    static LOG: LazyLock<Option<File>> = LazyLock::new(|| {
        let path = env::var_os("BERTH_FAULT_LOG")?;
        File::options().create(true).append(true).open(path).ok()
    });

    pub(super) fn reached(name: &str) {
        if let Some(log) = &*LOG {
            // In one write, so that threads do not mix their lines.
            let _ = (&*log).write_all(format!("{name}\n").as_bytes());
        }
        if let Some((fatal, left)) = &*FAULT
            && fatal == name
            && left.fetch_sub(1, Ordering::Relaxed) == 1
        {
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        }
    }
}
