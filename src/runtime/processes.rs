//! What the processes of a container hold, from `/proc`.

use std::fs;

/// Counts over some processes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Processes that were there to be looked at.
    pub processes: u64,
    /// Open file descriptors.
    pub descriptors: u64,
    /// Those that are sockets.
    pub sockets: u64,
}

/// Counts what processes hold open. One that has ended meanwhile does not count.
pub fn holdings(pids: &[i32]) -> Holdings {
    let mut holdings = Holdings::default();
    for entries in pids.iter().filter_map(|pid| fs::read_dir(format!("/proc/{pid}/fd")).ok()) {
        holdings.processes += 1;
        for target in entries.flatten().filter_map(|entry| fs::read_link(entry.path()).ok()) {
            holdings.descriptors += 1;
            if target.as_os_str().as_encoded_bytes().starts_with(b"socket:") {
                holdings.sockets += 1;
            }
        }
    }
    holdings
}

/// How many files a process may have open before it raises its limit; `None` when it is gone.
pub fn soft_limit_of_files(pid: i32) -> Option<u64> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, process::Command};

    use super::*;

    #[test]
    fn open_files_and_sockets_of_living_processes_are_counted() {
        let mut child = Command::new("sleep").arg("1000").stdin(std::process::Stdio::null()).spawn().expect("sleep");
        let pid = i32::try_from(child.id()).expect("a process id");
        let before = holdings(&[pid]);
        assert_eq!((before.processes, before.sockets), (1, 0));
        assert!(before.descriptors >= 3, "{before:?}");
        let _listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
        let own = i32::try_from(std::process::id()).expect("a process id");
        let both = holdings(&[pid, own]);
        assert!(both.sockets >= 1 && both.descriptors > before.descriptors, "{both:?}");
        child.kill().expect("kill");
        child.wait().expect("wait");
        assert_eq!(holdings(&[pid]), Holdings::default(), "it is gone");
    }

    #[test]
    fn the_limit_of_open_files_is_the_kernels() {
        let own = i32::try_from(std::process::id()).expect("a process id");
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        assert_eq!(soft_limit_of_files(own), limit.current);
        assert_eq!(soft_limit_of_files(i32::MAX), None);
    }
}
