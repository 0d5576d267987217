//! Descriptors that are taken away from a daemon.

use std::path::Path;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use super::Daemon;

/// A daemon that can open nothing more, for as long as this is held.
pub(crate) struct Shortage {
    process: i32,
    before: Rlimit,
}

impl Shortage {
    /// Lowers the daemon's limit to what it has open.
    pub(crate) fn of_descriptors(daemon: &Daemon) -> Self {
        let own = getrlimit(Resource::Nofile);
        // The lower limit alone can be set back.
        let limit = Rlimit { current: Some(lowest_free_descriptor(daemon)), maximum: own.maximum };
        let process = daemon.pid();
        let before = prlimit(Pid::from_raw(process), Resource::Nofile, limit).expect("take its descriptors away");
        Self { process, before }
    }
}

/// Gives the descriptors back.
impl Drop for Shortage {
    fn drop(&mut self) {
        // A daemon that has died needs none.
        let _ = prlimit(Pid::from_raw(self.process), Resource::Nofile, self.before);
    }
}

/// The number that the daemon's next descriptor would have.
fn lowest_free_descriptor(daemon: &Daemon) -> u64 {
    let open = Path::new("/proc").join(daemon.pid().to_string()).join("fd");
    (0..).find(|number: &u64| open.join(number.to_string()).read_link().is_err()).expect("a free number")
}
