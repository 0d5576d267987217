//! The first process of a scope, which does nothing.

use std::io;

use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, waitpid};

use crate::sys::idle;

/// Holds a scope until a container's process is in it; killed and reaped when dropped.
#[derive(Debug)]
pub(in crate::runtime::cgroup) struct Placeholder {
    process: Pid,
    /// Who has to end it: not a child of the starter's that has a copy of this.
    starter: Pid,
}

impl Placeholder {
    /// Starts it. It ends with the calling thread at the latest.
    pub(super) fn start() -> io::Result<Self> {
        let process = Pid::from_raw(idle::spawn()?).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { process, starter: getpid() })
    }

    /// Its id.
    pub(super) fn id(&self) -> u32 {
        self.process.as_raw_nonzero().get().unsigned_abs()
    }
}

impl Drop for Placeholder {
    fn drop(&mut self) {
        if self.starter != getpid() {
            return;
        }
        // It is our child and not yet reaped, so the id is its own; and a dead one is all that is wanted.
        let _ = kill_process(self.process, Signal::KILL);
        let _ = waitpid(Some(self.process), WaitOptions::empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_there_until_dropped() {
        let placeholder = Placeholder::start().expect("start");
        let process = placeholder.process;
        rustix::process::test_kill_process(process).expect("it lives");
        drop(placeholder);
        assert!(rustix::process::test_kill_process(process).is_err(), "it is left");
    }
}
